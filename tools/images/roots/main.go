// Roots prints the public certificate authorities that Go's own fallback carries,
// as PEM, for images that are built where the host has none. It is a module of its
// own because nothing else wants them.
package main

import (
	"encoding/pem"
	"fmt"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // trusted for some names only, which PEM cannot say
		}
		if err := pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			fmt.Fprintf(os.Stderr, "roots: %v\n", err)
			os.Exit(1)
		}
	}
}

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
)

// errHost is in the error of a target that was not allowed.
var errHost = errors.New("is not this machine: name it with --allow-host if you mean to put load on it")

// allowed says whether load may be put on the hosts that the flags name. That a URL
// stands in the environment is not enough for a host that others use too.
func (c *command) allowed() error {
	if !c.named() {
		return nil
	}
	var errs []error
	check := func(host string) {
		if !loopback(host) && !slices.Contains(c.AllowHost, host) {
			errs = append(errs, fmt.Errorf("%q %w", host, errHost))
		}
	}
	for _, s := range c.NATS.URL {
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" {
			u, err = url.Parse("nats://" + s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--nats-url: %w", err))
			continue
		}
		check(u.Hostname())
	}
	if c.S3.Endpoint == "" {
		check("amazonaws.com")
		return errors.Join(errs...)
	}
	u, err := url.Parse(c.S3.Endpoint)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("--s3-endpoint: %w", err))...)
	}
	check(u.Hostname())
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

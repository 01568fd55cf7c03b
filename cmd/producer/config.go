package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// configFile is read if it is there: a login shell has no flags.
const configFile = "/etc/tapedeck/producer.json"

// A configFlag names a file to read instead.
type configFlag string

// parse reads the configuration file and then the arguments, so that a file
// that is wrong is told of as such.
func parse(parser *kong.Kong, args []string) (*kong.Context, error) {
	path := os.Getenv("TAPEDECK_PRODUCER_CONFIG")
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			path = value
		} else if arg == "--config" && i+1 < len(args) {
			path = args[i+1]
		}
	}
	settings, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	if err := kong.Resolvers(settings).Apply(parser); err != nil {
		return nil, err
	}
	return parser.Parse(args)
}

// A configError is of the file, not of the arguments.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

// A config is the file's settings by flag name. It gives way to flags and to
// the environment, and an unknown name is an error.
type config struct {
	path   string
	values map[string]any
}

func readConfig(path string) (config, error) {
	c := config{path: path}
	if path == "" {
		c.path = configFile
	}
	b, err := os.ReadFile(c.path)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, &configError{fmt.Errorf("read settings: %w", err)}
	}
	if err := json.Unmarshal(b, &c.values); err != nil {
		return c, &configError{fmt.Errorf("read settings in %s: %w", c.path, err)}
	}
	return c, nil
}

// Validate reports every name that is no flag, all at once.
func (c config) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	var unknown []string
	for name := range c.values {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return &configError{fmt.Errorf("read settings in %s: no such setting: %s", c.path, strings.Join(unknown, ", "))}
}

// Resolve gives kong the value of a flag.
func (c config) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if os.Getenv(env) != "" {
			return nil, nil
		}
	}
	return c.values[flag.Name], nil
}

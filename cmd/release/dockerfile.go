package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// runtimeConfig is how an image is run: the part of OCI's image configuration that a
// Dockerfile sets.
type runtimeConfig struct {
	User       string            `json:",omitempty"`
	Env        []string          `json:",omitempty"`
	Entrypoint []string          `json:",omitempty"`
	Cmd        []string          `json:",omitempty"`
	Labels     map[string]string `json:",omitempty"`
}

// label matches one of a LABEL instruction, which quotes all values.
var label = regexp.MustCompile(`([^\s=]+)="([^"]*)"`)

// readDockerfile returns what the last stage of a Dockerfile sets, with the values of its
// arguments, so that an image without a container engine is run as one of docker buildx.
func readDockerfile(path string, args map[string]string) (c runtimeConfig, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "FROM":
			c = runtimeConfig{}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(rest), &c.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(rest), &c.Cmd)
		case "ENV":
			c.Env = append(c.Env, rest)
		case "USER":
			c.User = rest
		case "LABEL":
			c.Labels = map[string]string{}
			for _, m := range label.FindAllStringSubmatch(rest, -1) {
				c.Labels[m[1]] = os.Expand(m[2], func(name string) string { return args[name] })
			}
		}
		if err != nil {
			return c, fmt.Errorf("%s: %s: %w", path, strings.TrimSpace(line), err)
		}
	}
	return c, nil
}

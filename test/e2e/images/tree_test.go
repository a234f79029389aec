package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// Of a Dockerfile only the settings of its last stage count.
func TestReadDockerfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "Dockerfile")
	const text = `FROM golang AS build
ENV GOFLAGS=-v
USER 1000
FROM scratch
# USER 7
ENV PATH=/bin
USER 0:0
ENTRYPOINT ["/a"]
CMD ["b", "c"]
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := config{Entrypoint: []string{"/a"}, Cmd: []string{"b", "c"}, Env: []string{"PATH=/bin"}, User: "0:0"}
	if got, err := readDockerfile(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	ours, err := readDockerfile("../../../Dockerfile")
	if err != nil || len(ours.Entrypoint) == 0 {
		t.Errorf("of our own: %+v, %v", ours, err)
	}
}

package e2e

import (
	"fmt"
	"os"
	"strings"
)

// Images that no registry has.
const (
	KubeIPVSImage = "localhost/kube-ipvs:e2e"
	CoreDNSImage  = "localhost/coredns:e2e"
	// For the tests of test/e2e/life.
	LoadImage      = "localhost/load:e2e"
	KubeProxyImage = "localhost/kube-proxy:e2e"
	PreviousImage  = "localhost/kube-ipvs:previous"
)

// TestImages returns the names by which upstream's tests ask for an image, of which they
// may know several versions.
func TestImages(image string) ([]string, error) {
	path := Program("images.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.FieldsSeq(string(text)) {
		base, _, _ := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
		if base == image {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no image %s", path, image)
	}
	return names, nil
}

// Peer returns the path of a program that test/peers/build has made.
func Peer(name string) string { return built(peersVariable, name) }

// Program returns the path of a file that test/e2e/build has made.
func Program(name string) string { return built(programsVariable, name) }

package install

import (
	"crypto/x509"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The image has all that its programs are linked with, certificates by which to
// know an API server, and neither a shell nor anything that gives rights away.
func TestImage(t *testing.T) {
	var libraries []string
	needed := map[string]string{} // library: the file that needs it
	var size int64
	must(t, filepath.WalkDir(image, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path) // a link that leads nowhere fails
		if err != nil {
			return err
		}
		size += info.Size()
		if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 || slices.Contains([]string{"sh", "bash", "dash"}, d.Name()) {
			t.Errorf("%s should not be there", path)
		}
		if strings.Contains(path, "/lib") {
			libraries = append(libraries, d.Name())
		}
		f, err := elf.Open(path)
		if err != nil {
			return nil // some other file
		}
		defer f.Close()
		names, err := f.ImportedLibraries()
		for _, name := range names {
			needed[name] = path
		}
		return err
	}))
	for name, who := range needed {
		if !slices.Contains(libraries, name) {
			t.Errorf("%s needs %s, which is not there", who, name)
		}
	}
	if len(needed) < 5 {
		t.Errorf("programs of the image need no more than %v: were they looked at?", needed)
	}
	pem, err := os.ReadFile(filepath.Join(image, "etc/ssl/certs/ca-certificates.crt"))
	must(t, err)
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		t.Error("no certificate can be read")
	}
	const most = 64 << 20
	if t.Logf("%d MiB", size>>20); size > most {
		t.Errorf("the image has %d bytes, more than %d", size, most)
	}
}

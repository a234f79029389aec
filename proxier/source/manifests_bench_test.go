package source

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"kube-ipvs/proxier/model"
)

// deaf is a Sink that keeps nothing.
type deaf struct{ events int }

func (d *deaf) Events(e []Event)         { d.events += len(e) }
func (d *deaf) Loaded()                  {}
func (d *deaf) Synced()                  {}
func (d *deaf) Problems([]model.Problem) {}

// BenchmarkOneFile changes one small file of a folder that holds 5,000 Services, in
// so many files.
func BenchmarkOneFile(b *testing.B) {
	for _, files := range []int{1, 5000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) { oneFile(b, files) })
	}
}

func oneFile(b *testing.B, files int) {
	const services = 5000
	dir := b.TempDir()
	for f := range files {
		var all []string
		for i := f; i < services; i += files {
			all = append(all, svc(fmt.Sprintf("s%d", i), 80))
		}
		write(b, filepath.Join(dir, fmt.Sprintf("f%d.yaml", f)), docs(all...))
	}
	m := Manifests([]string{dir}, slog.New(slog.DiscardHandler)).(*manifests)
	now := time.Now().Add(time.Hour)
	sink := &deaf{}
	m.scan(now, "", sink)
	m.scan(now.Add(time.Hour), "", sink)
	sink.events = 0
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		path := filepath.Join(dir, "one.yaml")
		write(b, path, svc("one", 81+n%2))
		m.marks[path] = now
		m.scan(now, "", sink)
	}
	if sink.events < b.N {
		b.Errorf("%d events of %d changes", sink.events, b.N)
	}
}

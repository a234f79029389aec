package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// packTree returns the files below a folder as a tar, sorted by name: of root, of one time,
// and with one of two modes, whatever umask they were written with.
func packTree(root string, at time.Time) ([]byte, error) {
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return packFile(out, path, filepath.ToSlash(name), entry, at)
	})
	if err != nil {
		return nil, err
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func packFile(out *tar.Writer, path, name string, entry fs.DirEntry, at time.Time) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	head := tar.Header{Name: name, ModTime: at, Mode: 0o644}
	if info.Mode()&0o100 != 0 {
		head.Mode = 0o755
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		head.Typeflag, head.Name = tar.TypeDir, name+"/"
		if info.Mode()&fs.ModeSticky != 0 {
			head.Mode = 0o1777
		}
	case fs.ModeSymlink:
		head.Typeflag, head.Mode = tar.TypeSymlink, 0o777
		if head.Linkname, err = os.Readlink(path); err != nil {
			return err
		}
	case 0:
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return addFile(out, head, text)
	default:
		return fmt.Errorf("%s is neither a file, a folder nor a symbolic link", path)
	}
	return out.WriteHeader(&head)
}

// addFile adds a regular file with a text.
func addFile(out *tar.Writer, head tar.Header, text []byte) error {
	head.Typeflag, head.Size = tar.TypeReg, int64(len(text))
	if err := out.WriteHeader(&head); err != nil {
		return err
	}
	_, err := out.Write(text)
	return err
}

// compress returns what gzip makes of a text, without a name and a time.
func compress(text []byte) ([]byte, error) {
	var buf bytes.Buffer
	out, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := out.Write(text); err != nil {
		return nil, err
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

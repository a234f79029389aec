package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// install copies a file of this machine to a path of an image, unless that is there.
func install(from, root, path string) error {
	to := filepath.Join(root, path)
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// tool copies a program of this machine to /usr/bin, with its libraries. busybox's command of that name goes.
func tool(root, name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(root, "bin", name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := install(path, root, "/usr/bin/"+name); err != nil {
		return err
	}
	return libraries(root, path)
}

// libraries copies the libraries that a file loads to their place here.
func libraries(root, path string) error {
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", path, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			if err := install(word, root, word); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyTree(from, to string) error {
	out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

// readDockerfile returns how the last stage of a Dockerfile is to be run.
func readDockerfile(path string) (config, error) {
	file, err := os.Open(path)
	if err != nil {
		return config{}, err
	}
	defer file.Close()
	var c config
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "FROM":
			c = config{}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(rest), &c.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(rest), &c.Cmd)
		case "ENV":
			c.Env = append(c.Env, rest)
		case "USER":
			c.User = rest
		}
		if err != nil {
			return config{}, fmt.Errorf("%s: %s: %w", path, lines.Text(), err)
		}
	}
	return c, lines.Err()
}

package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Kubelet makes containers of a pod.
type Kubelet struct {
	Node  string // its name
	Image string // the image's files
	Dir   string // an empty folder for its files
	// ConfigMap reads one of the pod's namespace.
	ConfigMap func(name string) (map[string]string, error)
}

// Contain makes a container of a pod into the runtime's settings. It knows the fields
// that the chart uses, and fails with all others.
func (k Kubelet) Contain(pod corev1.PodSpec, c corev1.Container) (Container, error) {
	out := Container{Root: k.Image, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
	if !pod.HostNetwork {
		return out, fmt.Errorf("the pod of %s is not on the host network", c.Name)
	}
	if pod.PriorityClassName == "system-node-critical" {
		out.Score = -997 // pkg/kubelet/qos
	}
	if err := out.permit(c); err != nil {
		return out, err
	}
	out.Args = append([]string{"/kube-ipvs"}, c.Args...) // the image's ENTRYPOINT
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			if e.ValueFrom.FieldRef.FieldPath != "spec.nodeName" {
				return out, fmt.Errorf("no kubelet here knows %s", e.ValueFrom)
			}
			e.Value = k.Node
		}
		out.Env = append(out.Env, e.Name+"="+e.Value)
		for i, a := range out.Args {
			out.Args[i] = strings.ReplaceAll(a, "$("+e.Name+")", e.Value)
		}
	}
	var err error
	out.Mounts, err = k.mounts(pod, c)
	return out, err
}

// permit gives it the rights of a container.
func (out *Container) permit(c corev1.Container) error {
	s := c.SecurityContext
	out.Privileged = s.Privileged != nil && *s.Privileged
	out.ReadOnly = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
	out.NoNewRights = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
	if s.Capabilities == nil {
		if !out.Privileged {
			return fmt.Errorf("%s does not say its capabilities", c.Name)
		}
		return nil
	}
	if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		return fmt.Errorf("%s does not drop ALL capabilities", c.Name)
	}
	for _, name := range s.Capabilities.Add {
		out.Capabilities = append(out.Capabilities, string(name))
	}
	return nil
}

// mounts writes the volumes of a container into files.
func (k Kubelet) mounts(pod corev1.PodSpec, c corev1.Container) ([]Mount, error) {
	var out []Mount
	for _, m := range c.VolumeMounts {
		at := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if at < 0 {
			return nil, fmt.Errorf("there is no volume %s", m.Name)
		}
		source, err := k.volume(pod.Volumes[at], m.SubPath)
		if err != nil {
			return nil, err
		}
		out = append(out, Mount{Source: source, Target: m.MountPath, ReadOnly: m.ReadOnly})
	}
	return out, nil
}

// volume returns where a volume, or one file of it, is.
func (k Kubelet) volume(v corev1.Volume, file string) (string, error) {
	switch {
	case v.ConfigMap != nil:
		data, err := k.ConfigMap(v.ConfigMap.Name)
		if err != nil {
			return "", err
		}
		source := filepath.Join(k.Dir, file)
		return source, os.WriteFile(source, []byte(data[file]), 0o644)
	case v.HostPath != nil && *v.HostPath.Type == corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(v.HostPath.Path, os.O_CREATE, 0o644)
		if err != nil {
			return "", err
		}
		return v.HostPath.Path, f.Close()
	}
	return "", fmt.Errorf("no kubelet here knows %v", v)
}

package install

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kube-ipvs/test/lib/testbed"
)

// Each capability that the chart gives is needed: without it the program ends or
// reports the failure. The release must be installed, and the node be clean.
func lacking(t *testing.T) {
	pod := daemonSet(t, release).Spec.Template.Spec
	for _, name := range pod.Containers[0].SecurityContext.Capabilities.Add {
		c := contain(t, pod, pod.Containers[0])
		c.Capabilities = slices.DeleteFunc(c.Capabilities, func(s string) bool { return s == string(name) })
		cmd, err := c.Command()
		must(t, err)
		var said testbed.Log
		cmd.Stdout, cmd.Stderr = &said, &said
		must(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		await(t, func() error {
			select {
			case err := <-ended:
				ended <- err
				if err == nil {
					return errors.New("it has ended in peace")
				}
				return nil
			default:
			}
			if log := said.String(); !strings.Contains(log, "level=ERROR") {
				return fmt.Errorf("without %s it has nothing to say but:\n%s", name, log)
			}
			return nil
		})
		t.Logf("without %s:\n%s", name, said.String())
		_ = cmd.Process.Kill()
		<-ended //nolint:errcheck // it was killed
	}
	clean(t)
}

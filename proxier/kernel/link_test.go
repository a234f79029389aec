package kernel

import (
	"testing"

	"kube-ipvs/netutil"
	"kube-ipvs/proxier/state"
)

// A start that was killed after it made the device, and before it gave it its alias, leaves one
// that is ours: the next start gives it the alias, and a clean-up deletes it. Another program's
// of that name stays as it is.
func TestUnfinishedDevice(t *testing.T) {
	needLab(t)
	for name, c := range map[string]struct {
		make, shown string // the alias in the end
		stays       bool
	}{
		"ours":             {"", linkAlias, false},
		"another's":        {"ip link add kube-ipvs0 type dummy", "", true},
		"another's, named": {"ip link add kube-ipvs0 type dummy; ip link set kube-ipvs0 alias other", "other", true},
	} {
		t.Run(name, func(t *testing.T) {
			inNetns(t, func() {
				l := openLinux(t, netutil.NFT)
				defer l.Close()
				if c.make != "" {
					sh(t, c.make)
				} else if _, err := l.links.CreateDummy(LinkName, ""); err != nil {
					t.Fatal(err)
				}
				read, err := l.Read(ctx)
				if err != nil {
					t.Fatal(err)
				}
				have, _ := read.Get(state.LinkID())
				if whole := have.Equal(state.None); whole != c.stays {
					t.Errorf("read %v", have.Value())
				}
				change := state.Op{Verb: state.Change, ID: state.LinkID(), Spec: state.None, Old: have}
				if errs := l.Apply(ctx, state.Plan{change}); errs != nil {
					t.Error(errs)
				}
				if _, alias, exists, err := l.links.FindDummy(LinkName); alias != c.shown || !exists || err != nil {
					t.Errorf("alias %q, exists %v, %v", alias, exists, err)
				}
				if errs := l.Apply(ctx, state.Plan{{Verb: state.Delete, ID: state.LinkID(), Old: state.None}}); errs != nil {
					t.Error(errs)
				}
				if _, _, exists, err := l.links.FindDummy(LinkName); exists != c.stays || err != nil {
					t.Errorf("after it was deleted, it exists: %v, %v", exists, err)
				}
			})
		})
	}
}

// A clean-up deletes a device that has no alias yet.
func TestUnfinishedDeviceIsDeleted(t *testing.T) {
	needLab(t)
	inNetns(t, func() {
		l := openLinux(t, netutil.NFT)
		defer l.Close()
		if _, err := l.links.CreateDummy(LinkName, ""); err != nil {
			t.Fatal(err)
		}
		if errs := l.Apply(ctx, state.Plan{{Verb: state.Delete, ID: state.LinkID(), Old: state.None}}); errs != nil {
			t.Error(errs)
		}
		if _, _, exists, err := l.links.FindDummy(LinkName); exists || err != nil {
			t.Errorf("it exists: %v, %v", exists, err)
		}
	})
}

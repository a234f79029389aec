package netutil

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// SetAlias gives a link an alias. Idempotent.
func (l *Links) SetAlias(index int, alias string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Index = index
	if err := l.handle.LinkSetAlias(&netlink.GenericLink{LinkAttrs: attrs}, alias); err != nil {
		return fmt.Errorf("set alias of link %d: %w", index, err)
	}
	return nil
}

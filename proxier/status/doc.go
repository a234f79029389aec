// Package status shows a node to people, as a page without scripts, and the
// same to programs, as JSON: the Services with what the kernel holds for them,
// and what the loop has done of late.
//
//	Node    what is programmed, by Service; also what the command state prints
//	Board   takes note of Rounds, for proxier.Config.Observe
//	Page    serves both forms
//
// It reads and never writes. The kernel it reads by a way of its own, so that
// the loop is not kept waiting. Which frontends there are is read from a few
// sets, and again only after the loop has changed them; of virtual and real
// servers only those that a page shows are asked for.
package status

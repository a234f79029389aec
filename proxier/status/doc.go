// Package status shows a node, as a page without scripts and as JSON: the Services with their
// objects in the kernel, and the last rounds of the loop.
//
//	Node    the programmed objects by Service; the command state prints it too
//	Board   remembers the last Rounds, for proxier.Config.Observe
//	Page    serves both forms
//
// It never writes, and reads the kernel by sockets of its own, so that the loop does not wait.
// It reads the frontends from a few sets, and again only after the loop has changed them. It
// reads only the virtual and real servers that a page shows.
package status

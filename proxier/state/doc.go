// Package state is the vocabulary of the dataplane: what can be programmed
// into the kernel, as plain comparable values, and the pure functions between
// them. Diff compares what is wanted with what is there, NewPlan puts the
// writes into the one order in which no virtual IP ever answers wrongly.
//
// Everything that kube-ipvs programs is an Object: an ID that names it and a
// Spec that says what it holds. Because all kinds share the two types, the
// code that compares, orders, retries and reports knows nothing of kinds.
package state

// Package state is the vocabulary of the dataplane: the objects that kube-ipvs programs
// into the kernel, as plain comparable values, and pure functions on them. Diff compares
// wanted objects with actual ones. NewPlan orders the writes so that no VIP ever answers
// wrongly.
//
// An Object is an ID, which names it, and a Spec, which is its content. All kinds share
// these two types, so that the code that compares, orders, retries and reports does not
// depend on kinds.
package state

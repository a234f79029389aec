package model

import "slices"

// Board holds what is wrong with objects. What it tells costs what has changed
// and not what there is: ten thousand Services with a problem each must not make
// the change of another one wait. The zero Board is empty and may be used; it is
// for one goroutine at a time.
type Board struct {
	now   map[Topic][]Problem // sorted, never empty
	was   map[Topic][]Problem // of what has changed since the last Take or Sum: as it was then
	all   []Problem           // of now, sorted, as of the last Sum
	given map[string][]Problem
}

// Topic is an object, and by whom it is judged: each may find other things wrong
// with it.
type Topic struct {
	By   string
	Kind string // of the object, or all of its name
	Key  Key
}

// Set says what is wrong with an object from now on; nothing, if problems is
// empty. The Board keeps and sorts the slice.
func (b *Board) Set(t Topic, problems []Problem) {
	slices.SortFunc(problems, compareProblems)
	problems = slices.Compact(problems)
	old := b.now[t]
	if slices.Equal(old, problems) {
		return
	}
	if b.now == nil {
		b.now = map[Topic][]Problem{}
	}
	if b.was == nil {
		b.was = map[Topic][]Problem{}
	}
	if _, noted := b.was[t]; !noted {
		b.was[t] = old
	}
	if len(problems) == 0 {
		delete(b.now, t)
	} else {
		b.now[t] = problems
	}
}

// Replace says all that is wrong by one judge from now on. It costs what problems
// there are, unless they are those that were given last.
func (b *Board) Replace(by string, problems []Problem) {
	before := b.given[by]
	if slices.Equal(before, problems) {
		return
	}
	topics := map[Topic][]Problem{}
	for _, p := range before {
		topics[Topic{By: by, Kind: p.Object}] = nil
	}
	for _, p := range problems {
		t := Topic{By: by, Kind: p.Object}
		topics[t] = append(topics[t], p)
	}
	for t, ps := range topics {
		b.Set(t, ps)
	}
	if b.given == nil {
		b.given = map[string][]Problem{}
	}
	b.given[by] = problems
}

// Take makes b say what another Board says, as far as that has changed since the
// last Take. The other one must not be summed.
func (b *Board) Take(from *Board) {
	for t := range from.was {
		b.Set(t, from.now[t])
	}
	from.was = nil
}

// List returns all problems, sorted. It costs what there is.
func (b *Board) List() []Problem {
	return slices.SortedFunc(func(yield func(Problem) bool) {
		for _, ps := range b.now {
			for _, p := range ps {
				if !yield(p) {
					return
				}
			}
		}
	}, compareProblems)
}

// Sum returns all problems, and what of them came and went since the last Sum,
// each sorted. It costs what has changed, and one copy of all where something has:
// what it has returned stays as it is, and is returned again as long as it is true.
func (b *Board) Sum() (all, came, went []Problem) {
	for t, old := range b.was {
		came = lacking(came, b.now[t], old)
		went = lacking(went, old, b.now[t])
	}
	b.was = nil
	if len(came)+len(went) > 0 {
		slices.SortFunc(came, compareProblems)
		slices.SortFunc(went, compareProblems)
		b.all = merged(b.all, came, went)
		if len(b.now) == 0 {
			*b = Board{} // maps do not shrink
		}
	}
	return b.all, came, went
}

// lacking appends those of problems that others lacks. Both are sorted.
func lacking(to, problems, others []Problem) []Problem {
	for _, p := range problems {
		if _, there := slices.BinarySearchFunc(others, p, compareProblems); !there {
			to = append(to, p)
		}
	}
	return to
}

// merged returns all with those that came and without those that went. All three
// are sorted. Between two of these it copies without a look.
func merged(all, came, went []Problem) []Problem {
	out := make([]Problem, 0, len(all)+len(came)-len(went))
	for len(came)+len(went) > 0 {
		adds := len(went) == 0 || len(came) > 0 && compareProblems(came[0], went[0]) < 0
		next := &went
		if adds {
			next = &came
		}
		at, _ := slices.BinarySearchFunc(all, (*next)[0], compareProblems)
		out, all = append(out, all[:at]...), all[at:]
		if adds {
			out = append(out, came[0])
		} else {
			all = all[1:]
		}
		*next = (*next)[1:]
	}
	return append(out, all...)
}

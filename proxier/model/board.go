package model

import "slices"

// Board has the problems of objects. The cost of Sum and Take depends on the changes and not on
// the number of problems, so that ten thousand Services with a problem each do not delay the
// change of another one. The zero Board is empty and ready for use. Only one goroutine at a
// time may use it.
type Board struct {
	now   map[Topic][]Problem // sorted, never empty
	was   map[Topic][]Problem // for each change since the last Take or Sum: the problems then
	all   []Problem           // of now, sorted, as of the last Sum
	given map[string][]Problem
}

// Topic is an object and its judge: two judges may find different problems of an object.
type Topic struct {
	By   string
	Kind string // of the object, or all of its name
	Key  Key
}

// Set replaces the problems of an object. The Board keeps and sorts the slice.
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

// Replace replaces all problems of one judge. It costs as much as there are problems, unless
// they are equal to the last ones.
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

// Take copies the changes of another Board since the last Take into b. Do not call Sum of the
// other one.
func (b *Board) Take(from *Board) {
	for t := range from.was {
		b.Set(t, from.now[t])
	}
	from.was = nil
}

// List returns all problems, sorted. It costs as much as there are problems.
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

// Sum returns all problems, the new ones and the solved ones since the last Sum, each sorted.
// Its cost depends on the changes, plus one copy of all if there are any. It never changes a
// slice that it has returned, and returns the same slice until a problem changes.
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

// lacking appends to to those of problems that others lacks. Both are sorted.
func lacking(to, problems, others []Problem) []Problem {
	for _, p := range problems {
		if _, there := slices.BinarySearchFunc(others, p, compareProblems); !there {
			to = append(to, p)
		}
	}
	return to
}

// merged returns all with came and without went. All three are sorted. Between two changes it
// copies without comparing.
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

package model

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever changes, in whichever order it is asked for, a sum is all that is
// there, and what came and went leads from one sum to the next.
func TestBoardSumsUp(t *testing.T) {
	problem := func(t *rapid.T) Problem {
		return Problem{Object: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "object"), Message: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "message")}
	}
	rapid.Check(t, func(t *rapid.T) {
		var part, whole Board
		var before []Problem
		set, given := map[Topic][]Problem{}, []Problem(nil)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			ps := rapid.SliceOfN(rapid.Custom(problem), 0, 3).Draw(t, "problems")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				given = ps
				whole.Replace("all", slices.Clone(ps))
			case 1, 2:
				topic := Topic{"one", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "topic"), Key{}}
				set[topic] = ps
				part.Set(topic, slices.Clone(ps))
			case 3:
				whole.Take(&part)
				all, came, went := whole.Sum()
				var want []Problem
				for _, ps := range set {
					want = append(want, distinctProblems(ps)...)
				}
				for _, object := range []string{"a", "b"} {
					want = append(want, distinctProblems(slices.DeleteFunc(slices.Clone(given), func(p Problem) bool { return p.Object != object }))...)
				}
				slices.SortFunc(want, compareProblems)
				if !slices.Equal(all, want) || !slices.Equal(whole.List(), want) {
					t.Fatalf("sum  %v\nlist %v\nwant %v", all, whole.List(), want)
				}
				led := slices.Concat(before, came)
				for _, p := range went {
					at := slices.Index(led, p)
					if at < 0 {
						t.Fatalf("%v went and was not there", p)
					}
					led = slices.Delete(led, at, at+1)
				}
				slices.SortFunc(led, compareProblems)
				if !slices.Equal(led, all) {
					t.Fatalf("before %v, came %v, went %v, sum %v", before, came, went, all)
				}
				before = all
			}
		}
	})
}

func distinctProblems(ps []Problem) []Problem {
	ps = slices.Clone(ps)
	slices.SortFunc(ps, compareProblems)
	return slices.Compact(ps)
}

// With ten thousand objects that have problems, the change of an object that has
// none costs what it costs with none, and one of an object's problems allocates as
// often as with ten.
func TestBoardCostsWhatChanges(t *testing.T) {
	change := func(objects int, problems ...Problem) float64 {
		var b Board
		for i := range objects {
			b.Set(Topic{Kind: fmt.Sprint(i)}, []Problem{{Object: fmt.Sprint(i), Message: "bad"}})
		}
		b.Sum()
		n := 0
		return testing.AllocsPerRun(100, func() {
			n++
			ps := slices.Clone(problems)
			for i := range ps {
				ps[i].Message = fmt.Sprint(n % 10)
			}
			b.Set(Topic{Kind: "one"}, ps)
			b.Sum()
		})
	}
	if got := change(10_000); got != 0 {
		t.Errorf("%v allocations for the change of an object without problems", got)
	}
	few, many := change(10, Problem{Object: "one"}), change(10_000, Problem{Object: "one"})
	if many > few {
		t.Errorf("%v allocations with 10,000 objects, %v with 10", many, few)
	}
	var b Board
	for i := range 10_000 {
		b.Set(Topic{Kind: fmt.Sprint(i)}, []Problem{{Object: fmt.Sprint(i), Message: "bad"}})
	}
	first, _, _ := b.Sum()
	second, came, went := b.Sum()
	if &first[0] != &second[0] || len(came)+len(went) > 0 {
		t.Errorf("a sum is made anew without a change: %v came, %v went", came, went)
	}
}

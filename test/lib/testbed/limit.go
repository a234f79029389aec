package testbed

import (
	"os"
	"strconv"
	"time"
)

// Limit returns the time limit for work that takes d at most on an ordinary machine:
// LAB_SLOW says how many times slower this one is. All time limits of tests pass here;
// pauses and measured times do not.
func Limit(d time.Duration) time.Duration { return time.Duration(slow * float64(d)) }

var slow = slowness(os.Getenv("LAB_SLOW"))

func slowness(text string) float64 {
	if text == "" {
		return 1
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 1 {
		panic("LAB_SLOW is not a number from 1 up: " + text)
	}
	return n
}

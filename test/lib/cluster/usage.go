package cluster

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Usage is the memory and CPU of a process.
type Usage struct {
	Resident, Peak int           // KiB of memory, now and at most
	Own            int           // KiB of the resident memory that are no file's, such as the program's
	CPU            time.Duration // since its start, with that of programs that it started and that have ended
}

// Tick is the clock in which /proc counts CPU time, with any clock of the kernel.
const Tick = 10 * time.Millisecond

// UsageOf returns the usage of a process. Sources: proc_pid_status(5),
// proc_pid_stat(5).
func UsageOf(pid int) (Usage, error) {
	var u Usage
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		for name, at := range map[string]*int{"VmRSS:": &u.Resident, "VmHWM:": &u.Peak, "RssAnon:": &u.Own} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscan(rest, at); err != nil {
					return u, fmt.Errorf("status of process %d: %q: %w", pid, line, err)
				}
			}
		}
	}
	u.CPU, err = CPUOf(pid)
	return u, err
}

// CPUOf returns UsageOf's CPU alone.
func CPUOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	var cpu time.Duration
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime: 14 to 17
		var ticks int64
		if _, err := fmt.Sscan(field, &ticks); err != nil {
			return 0, fmt.Errorf("stat of process %d: %q: %w", pid, stat, err)
		}
		cpu += time.Duration(ticks) * Tick
	}
	return cpu, nil
}

// Forks returns how many processes and threads the machine has started.
// Source: processes in proc_stat(5).
func Forks() (int, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "processes "); ok {
			var n int
			_, err := fmt.Sscan(rest, &n)
			return n, err
		}
	}
	return 0, fmt.Errorf("/proc/stat has no line of processes")
}

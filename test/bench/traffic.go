package main

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"kube-ipvs/test/lib/testbed"
)

// calm is how long a client waits for an answer of a Service that is programmed.
const calm = 2 * time.Second

// client measures from a host. Its work runs on one thread, with only system calls
// between two readings of the clock.
type client struct {
	from *testbed.Host
	to   netip.AddrPort
}

// micros runs the measured work some times, or as often as time allows. It counts runs
// without an answer in time; one in a thousand is no error.
func (c client) micros(n int, limit time.Duration, each func() (time.Duration, error)) (out []float64, unanswered int, err error) {
	began := time.Now()
	err = c.from.Do(func() error {
		for len(out) < n && time.Since(began) < limit {
			took, err := each()
			switch {
			case errors.Is(err, errLost) && unanswered <= n/1000:
				unanswered++
			case err != nil:
				return fmt.Errorf("%s: %w", c.to, err)
			default:
				out = append(out, float64(took.Nanoseconds()/10)/100)
			}
		}
		return nil
	})
	return out, unanswered, err
}

func (c client) open(kind int) (int, error) {
	return unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

var errLost = errors.New("no answer")

// exchange sends a request and waits for the answer.
func exchange(fd int, buf []byte) error {
	if _, err := unix.Write(fd, buf); err != nil {
		return err
	}
	for got := 0; got < len(buf); {
		n, err := unix.Read(fd, buf[got:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			if !wait(fd, unix.POLLIN, calm) {
				return errLost
			}
		case err != nil:
			return err
		case n == 0:
			return errLost
		}
		got += max(0, n)
	}
	return nil
}

// connection makes one, has one request answered and closes it. It returns how
// long the connect took.
func (c client) connection() (time.Duration, error) {
	fd, err := c.open(unix.SOCK_STREAM)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	began := time.Now()
	switch out := connect(fd, c.to, calm); out {
	case answered:
	case lost:
		return 0, fmt.Errorf("connect: %w", errLost)
	default:
		return 0, fmt.Errorf("connect: %s", out)
	}
	took := time.Since(began)
	return took, exchange(fd, make([]byte, requestSize))
}

// requests has requests answered over one connection.
func (c client) requests(n int, limit time.Duration) ([]float64, error) {
	fd, err := c.dialled()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, requestSize)
	out, _, err := c.micros(n, limit, func() (time.Duration, error) {
		began := time.Now()
		err := exchange(fd, buf)
		return time.Since(began), err
	})
	return out, err
}

func (c client) dialled() (fd int, err error) {
	err = c.from.Do(func() error {
		if fd, err = c.open(unix.SOCK_STREAM); err != nil {
			return err
		}
		if out := connect(fd, c.to, calm); out != answered {
			return errors.Join(fmt.Errorf("%s: connect: %s", c.to, out), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// datagram sends one from a new socket and returns how long its answer took.
func (c client) datagram() (time.Duration, error) {
	fd, err := c.open(unix.SOCK_DGRAM)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	began := time.Now()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(c.to.Port()), Addr: c.to.Addr().As4()}); err != nil {
		return 0, err
	}
	err = exchange(fd, make([]byte, requestSize))
	return time.Since(began), err
}

// throughput sends over a connection for a while, and returns how many
// megabytes a second arrived.
func (c client) throughput(while time.Duration) (float64, error) {
	fd, err := c.dialled()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 64<<10)
	buf[0] = swallow
	sent, began := 0, time.Now()
	for time.Since(began) < while {
		n, err := unix.Write(fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			if !wait(fd, unix.POLLOUT, calm) {
				return 0, errLost
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		sent += n
	}
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return 0, err
	}
	if !wait(fd, unix.POLLIN, calm) { // the server has read all
		return 0, errLost
	}
	return float64(sent) / 1e6 / time.Since(began).Seconds(), nil
}

package launcher

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// TestInsist begins a connection again for what may pass, and only for that.
func TestInsist(t *testing.T) {
	refused := func(e syscall.Errno) error { return &vsock.DialError{Errno: e} }
	other := errors.New("another failure")
	for name, c := range map[string]struct {
		answers []error // then nil
		want    error
		tries   int
	}{
		"at once":        {nil, nil, 1},
		"not answered":   {[]error{refused(syscall.ETIMEDOUT), refused(syscall.ETIMEDOUT)}, nil, 3},
		"no room":        {[]error{refused(syscall.ECONNRESET), refused(syscall.ECONNRESET)}, nil, 3},
		"nobody listens": {repeat(refused(syscall.ECONNRESET), 9), syscall.ECONNRESET, portTries},
		"nobody there":   {[]error{refused(syscall.ENODEV)}, syscall.ENODEV, 1},
		"something else": {[]error{other}, other, 1},
	} {
		tries := 0
		err := insist(t.Context(), func() error {
			tries++
			if tries <= len(c.answers) {
				return c.answers[tries-1]
			}
			return nil
		})
		if !errors.Is(err, c.want) || tries != c.tries {
			t.Errorf("%s: %v after %d tries, want %v after %d", name, err, tries, c.want, c.tries)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := insist(ctx, func() error { cancel(); return refused(syscall.ETIMEDOUT) })
	if !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("cancelled: %v", err)
	}
}

func repeat(err error, n int) []error {
	var all []error
	for range n {
		all = append(all, err)
	}
	return all
}

package guest

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// TestSlowGuestIsAskedAgain is about one that does not answer before the kernel
// loses patience.
func TestSlowGuestIsAskedAgain(t *testing.T) {
	slow := &vsock.DialError{Errno: unix.ETIMEDOUT}
	other := errors.New("other")
	for name, tt := range map[string]struct {
		answers []error
		want    error
		tries   int
	}{
		"at once":     {[]error{nil}, nil, 1},
		"late":        {[]error{slow, slow, nil}, nil, 3},
		"never":       {[]error{slow, slow, slow, slow, slow, slow}, slow, dialTries},
		"refuses":     {[]error{&vsock.DialError{Errno: unix.ECONNRESET}}, unix.ECONNRESET, 1},
		"late refuse": {[]error{slow, other}, other, 2},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			err := persist(func() error { tries++; return tt.answers[tries-1] })
			if !errors.Is(err, tt.want) || tries != tt.tries {
				t.Errorf("got %v after %d tries, want %v after %d", err, tries, tt.want, tt.tries)
			}
		})
	}
}

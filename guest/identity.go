package guest

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"
)

// ErrIdentity is returned when whoever answers is not the machine that was
// meant: it has another host key. Nothing was sent to it but the handshake.
var ErrIdentity = errors.New("another machine answers")

// An IdentityError says what is known of who answers instead. errors.Is finds
// [ErrIdentity].
type IdentityError struct {
	Key  ssh.PublicKey // the host key that it has; nil if it has shown none
	Name string        // what a probe guest calls itself; not to be trusted
	text string
}

func (e *IdentityError) Error() string { return ErrIdentity.Error() + ": " + e.text }

// Unwrap returns [ErrIdentity].
func (e *IdentityError) Unwrap() error { return ErrIdentity }

// strangerKey returns the error for a host key that is not the wanted one.
func strangerKey(got, want ssh.PublicKey) error {
	return &IdentityError{Key: got, text: fmt.Sprintf("host key %s, want %s", ssh.FingerprintSHA256(got), ssh.FingerprintSHA256(want))}
}

// pinned lets exactly one host key pass.
func pinned(want ssh.PublicKey) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, got ssh.PublicKey) error {
		if bytes.Equal(want.Marshal(), got.Marshal()) {
			return nil
		}
		return strangerKey(got, want)
	}
}

// identity says what a failed handshake means. A guest that has no key of the
// pinned kind at all is another machine, too.
func identity(err error) error {
	var n *ssh.AlgorithmNegotiationError
	if errors.As(err, &n) && n.What == "host key" {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return err
}

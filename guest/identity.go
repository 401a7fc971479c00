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

// pinned lets exactly one host key pass.
func pinned(want ssh.PublicKey) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, got ssh.PublicKey) error {
		if bytes.Equal(want.Marshal(), got.Marshal()) {
			return nil
		}
		return fmt.Errorf("%w: host key %s, want %s", ErrIdentity, ssh.FingerprintSHA256(got), ssh.FingerprintSHA256(want))
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

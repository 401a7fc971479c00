package tunnel

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// errNotAuthorized is the answer to a client whose key is not known, and to one
// that means another machine.
var errNotAuthorized = errors.New("key is not authorized")

// A Guest is the guest's side. It is safe for concurrent use.
type Guest struct {
	Host ssh.Signer // the key that it proves
	// Authorized reports whether the holder of a key may be connected.
	Authorized func(ssh.PublicKey) bool
}

// Serve has the client say and prove who it is, calls connect with the target that it
// asks for, and tells it the outcome. An empty target only asks for the proof: connect
// is not called. When Serve returns nil, conn is the target's. It reads no byte behind the
// client's message. It does not close conn, and is ended by closing it. It fails
// as connect does, for a client that is not authorized, with [ErrProtocol], and as conn
// does.
func (g *Guest) Serve(conn io.ReadWriter, connect func(target string) error) error {
	ours := newNonce()
	if _, err := conn.Write(append([]byte(greeting), ours[:]...)); err != nil {
		return err
	}
	var theirs nonce
	if _, err := io.ReadFull(conn, theirs[:]); err != nil {
		return err
	}
	var target, public, signature []byte
	if err := readFields(conn, &target, &public, &signature); err != nil {
		return err
	}
	key := g.Host.PublicKey().Marshal()
	err := g.admit(public, signed(purposeClient, ours, theirs, key, target), signature)
	if err == nil && len(target) > 0 {
		err = connect(string(target))
	}
	var answer []byte
	if err != nil {
		text := err.Error()
		answer = []byte(text[:min(len(text), maxField)])
	}
	signature, serr := sign(g.Host, signed(purposeGuest, ours, theirs, public, target, answer))
	if serr != nil {
		return errors.Join(err, serr)
	}
	if werr := writeFields(conn, nil, key, answer, signature); werr != nil {
		return errors.Join(err, werr)
	}
	return err
}

// admit fails for who may not come in.
func (g *Guest) admit(public, data, signature []byte) error {
	client, err := ssh.ParsePublicKey(public)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if !g.Authorized(client) {
		return errNotAuthorized
	}
	if err := verify(client, data, signature); err != nil {
		return errNotAuthorized
	}
	return nil
}

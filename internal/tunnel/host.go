package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// A StrangerError says that who answers has another key than the one that was
// expected, and has proved to have it.
type StrangerError struct {
	Have, Want ssh.PublicKey
}

func (e *StrangerError) Error() string {
	return fmt.Sprintf("host key %s, want %s", ssh.FingerprintSHA256(e.Have), ssh.FingerprintSHA256(e.Want))
}

// A RefusedError is the guest's answer that it could not connect to the target.
type RefusedError struct {
	Target string
	Answer string // the guest's words: not to be trusted
}

func (e *RefusedError) Error() string { return fmt.Sprintf("guest: %s", e.Answer) }

// Open is the host's side: it asks the guest with the key host for a connection to
// target, and to nothing but a proof of who it is if target is empty. When it returns nil,
// conn leads to the target. It reads no byte of the target's. It does not close
// conn, and is ended by closing it.
//
// It fails with a [*StrangerError], with a [*RefusedError], with [ErrProtocol], and as
// conn does.
func Open(conn io.ReadWriter, client ssh.Signer, host ssh.PublicKey, target string) error {
	if len(target) > maxField {
		return fmt.Errorf("target of %d bytes, want at most %d", len(target), maxField)
	}
	head := make([]byte, len(greeting)+nonceSize)
	if _, err := io.ReadFull(conn, head); err != nil {
		return noAnswer(err)
	}
	if string(head[:len(greeting)]) != greeting {
		return fmt.Errorf("%w: it greets with %q", ErrProtocol, head[:len(greeting)])
	}
	theirs, ours := nonce(head[len(greeting):]), newNonce()
	public := client.PublicKey().Marshal()
	signature, err := sign(client, signed(purposeClient, theirs, ours, host.Marshal(), []byte(target)))
	if err != nil {
		return err
	}
	if err := writeFields(conn, ours[:], []byte(target), public, signature); err != nil {
		return err
	}
	var key, answer []byte
	if err := readFields(conn, &key, &answer, &signature); err != nil {
		return noAnswer(err)
	}
	have, err := ssh.ParsePublicKey(key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if err := verify(have, signed(purposeGuest, theirs, ours, public, []byte(target), answer), signature); err != nil {
		return err
	}
	if !bytes.Equal(key, host.Marshal()) {
		return &StrangerError{Have: have, Want: host}
	}
	if len(answer) > 0 {
		return &RefusedError{Target: target, Answer: string(answer)}
	}
	return nil
}

// noAnswer tells an end amid the conversation from an end of what was asked for.
func noAnswer(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

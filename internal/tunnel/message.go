package tunnel

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// greeting is how the guest begins; the number is the version of this protocol.
const greeting = "vmlaunch-forward 1\n"

// What signatures are for, so that none is taken for another.
const (
	purposeClient = "vmlaunch forward 1: client"
	purposeGuest  = "vmlaunch forward 1: guest"
)

const nonceSize = 32

// maxField bounds one field of a message, in bytes: keys and signatures have some
// hundred, a target has a path or a host name.
const maxField = 4096

// ErrProtocol says that the other side does not speak this protocol.
var ErrProtocol = errors.New("not the forward service of a vmlaunch guest")

type nonce [nonceSize]byte

func newNonce() (n nonce) {
	_, _ = rand.Read(n[:]) // never fails since Go 1.24
	return n
}

// writeFields writes each field with its length before it, after head, in one go.
func writeFields(w io.Writer, head []byte, fields ...[]byte) error {
	message := bytes.Clone(head)
	for _, f := range fields {
		message = appendField(message, f)
	}
	_, err := w.Write(message)
	return err
}

func appendField(b, f []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(f))), f...)
}

// readField reads one field. It reads no byte behind it, and fails with
// [ErrProtocol] for one that is too long.
func readField(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxField {
		return nil, fmt.Errorf("%w: a field of %d bytes", ErrProtocol, n)
	}
	f := make([]byte, n)
	_, err := io.ReadFull(r, f)
	return f, err
}

// readFields reads several.
func readFields(r io.Reader, fields ...*[]byte) error {
	for _, f := range fields {
		var err error
		if *f, err = readField(r); err != nil {
			return err
		}
	}
	return nil
}

// signed returns what is signed: a purpose, the guest's nonce, the host's, fields.
func signed(purpose string, guest, host nonce, fields ...[]byte) []byte {
	b := appendField(nil, []byte(purpose))
	b = append(append(b, guest[:]...), host[:]...)
	for _, f := range fields {
		b = appendField(b, f)
	}
	return b
}

func sign(key ssh.Signer, data []byte) ([]byte, error) {
	s, err := key.Sign(rand.Reader, data)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return ssh.Marshal(s), nil
}

// verify fails with [ErrProtocol] for what is no signature of key over data.
func verify(key ssh.PublicKey, data, signature []byte) error {
	var s ssh.Signature
	if err := ssh.Unmarshal(signature, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if err := key.Verify(data, &s); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return nil
}

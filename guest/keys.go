package guest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Keys are the two key pairs of one machine, made for it and used for nothing
// else: the client's lets the host in, the host's proves which machine answers.
type Keys struct {
	Client    []byte // private, OpenSSH PEM
	ClientPub string // a line for authorized_keys, no newline
	Host      []byte // private, OpenSSH PEM
	HostPub   string // a line in the form of authorized_keys, no newline
}

// NewKeys makes both pairs, ed25519. It fails only if the system has no
// randomness to give.
func NewKeys() (Keys, error) {
	client, clientPub, err := newPair()
	if err != nil {
		return Keys{}, fmt.Errorf("make client key: %w", err)
	}
	host, hostPub, err := newPair()
	if err != nil {
		return Keys{}, fmt.Errorf("make host key: %w", err)
	}
	return Keys{Client: client, ClientPub: clientPub, Host: host, HostPub: hostPub}, nil
}

// ParsePublic reads a public key from a line as in authorized_keys. It fails on
// anything else.
func ParsePublic(line string) (ssh.PublicKey, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return key, nil
}

func newPair() (private []byte, public string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	block, err := ssh.MarshalPrivateKey(crypto.PrivateKey(priv), "vmlaunch")
	if err != nil {
		return nil, "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, "", err
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

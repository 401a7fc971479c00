package launcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A StrangerError says that another guest answers at a machine's CID. Nothing was
// sent to it but the question who it is. errors.Is finds guest.ErrIdentity.
type StrangerError struct {
	Name  string // the machine that was meant
	CID   vsock.CID
	Other string // who answers, in words
	Cause error
}

func (e *StrangerError) Error() string {
	return fmt.Sprintf("machine %q: %s answers at its cid %d%s", e.Name, e.Other, e.CID,
		bracket(fmt.Sprintf("nothing was sent; see: vmlaunch cid who %d", e.CID)))
}

// Unwrap returns the cause.
func (e *StrangerError) Unwrap() error { return e.Cause }

// connectError says what a failed connection to m means: who answers is named.
func (l *Launcher) connectError(ctx context.Context, m store.Machine, err error) error {
	who, ok := errors.AsType[*guest.IdentityError](err)
	if !ok {
		return fmt.Errorf("connect to machine %q: %w", m.Name, err)
	}
	return &StrangerError{Name: m.Name, CID: m.CID, Other: l.describe(ctx, who), Cause: err}
}

// describe names who answered, by the host key that it has if that is one of ours.
func (l *Launcher) describe(ctx context.Context, who *guest.IdentityError) string {
	switch {
	case who.Key != nil:
		if name := l.holderOf(ctx, who.Key); name != "" {
			return fmt.Sprintf("machine %q", name)
		}
		return "a guest with host key " + ssh.FingerprintSHA256(who.Key)
	case who.Name != "":
		return fmt.Sprintf("a probe guest called %q", who.Name)
	}
	return "another guest (" + who.Error() + ")"
}

// holderOf returns the machine that has a host key, or "".
func (l *Launcher) holderOf(ctx context.Context, key ssh.PublicKey) string {
	var all []store.Machine
	err := l.Store.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.Machines()
		return err
	})
	if err != nil {
		return ""
	}
	for _, m := range all {
		keys, err := l.folder(m.Name).readKeys()
		if err != nil {
			continue // a machine without keys is not who answers
		}
		if host, err := guest.ParsePublic(keys.HostPub); err == nil && bytes.Equal(host.Marshal(), key.Marshal()) {
			return m.Name
		}
	}
	return ""
}

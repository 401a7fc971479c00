package launcher

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
)

// The users that the QEMUs of root's machines run as, one a machine: numbers that
// neither the distributions' tools nor systemd give to anybody, see systemd's
// docs/UIDS-GIDS.md. Nobody has a name for them, nor a file.
const (
	firstOwnUID = 0x70000000 // 1879048192
	ownUIDs     = 1 << 16
)

// rootUser is the value of [configs.Machine.RunAs] that leaves QEMU root's.
const rootUser = "root"

// An account is what a QEMU runs as. The zero account is the caller's own.
type account struct {
	uid, gid uint32
	groups   []uint32 // supplementary ones
}

// foreign reports whether the account is another one than the caller's: its QEMU
// can't be expected to open what the caller can.
func (c account) foreign() bool { return c.uid != 0 }

// credential returns how the account is given to a child; nil for the caller's.
func (c account) credential() *syscall.Credential {
	if !c.foreign() {
		return nil
	}
	return &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: c.groups}
}

// mayRead reports whether the account's user can open a file with these properties,
// as the file's mode says.
func (c account) mayRead(st *syscall.Stat_t) bool { return c.may(st, 4) }

func (c account) may(st *syscall.Stat_t, want uint32) bool {
	shift := 0
	switch {
	case st.Uid == c.uid:
		shift = 6
	case c.inGroup(st.Gid):
		shift = 3
	}
	return st.Mode>>shift&want == want
}

func (c account) inGroup(gid uint32) bool {
	for _, g := range c.groups {
		if g == gid {
			return true
		}
	}
	return c.gid == gid
}

// An accounts says who the QEMUs of a spec run as on this host.
type accounts struct {
	named account // who the spec names
	own   bool    // instead, one that no other machine has
}

// resolveAccount returns who QEMU is to run as. For another user than root it
// is who called us, whatever is asked for, or an error: one that is an
// [errors.ErrUnsupported] if another one was asked for, and an
// [fs.ErrNotExist] if there is no such user.
func resolveAccount(asked string, euid int) (accounts, error) {
	if euid != 0 {
		if me, err := lookUpUser(asked); asked == "" || err == nil && me.uid == uint32(euid) && euid > 0 {
			return accounts{}, nil
		}
		return accounts{}, &MissingError{What: "the root user's rights", Need: "run QEMU as " + strconv.Quote(asked), Hint: "leave --run-as out: it runs as you"}
	}
	if asked == "" {
		has, err := mapped("/proc/self/uid_map", firstOwnUID, ownUIDs)
		// In a container that has no such users its root is none either.
		return accounts{own: has}, err
	}
	named, err := lookUpUser(asked)
	return accounts{named: named}, err
}

// lookUpUser finds a user by name or number. A number needs nobody who has it.
func lookUpUser(asked string) (account, error) {
	if asked == rootUser || asked == "" {
		return account{}, nil
	}
	u, err := user.Lookup(asked)
	if n, nerr := strconv.ParseUint(asked, 10, 31); err != nil && nerr == nil {
		if u, err = user.LookupId(asked); err != nil {
			return account{uid: uint32(n), gid: uint32(n)}, nil
		}
	}
	if err != nil {
		return account{}, fmt.Errorf("user %q: %w (leave --run-as out, and the machine gets one of its own)", asked, fs.ErrNotExist)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("groups of user %q: %w", asked, err)
	}
	var errs []error
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		errs = append(errs, err)
		return uint32(n)
	}
	c := account{uid: number(u.Uid), gid: number(u.Gid)}
	for _, id := range ids {
		c.groups = append(c.groups, number(id))
	}
	return c, errors.Join(errs...)
}

// mapped reports whether all count users from first on exist in this user
// namespace; see user_namespaces(7).
func mapped(path string, first, count uint64) (bool, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) { // a kernel without user namespaces
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return inMap(string(text), first, count), nil
}

// inMap reads the table of a user namespace: a line "INSIDE OUTSIDE COUNT" for
// each range.
func inMap(text string, first, count uint64) bool {
	for _, l := range strings.Split(text, "\n") {
		var inside, outside, n uint64
		if _, err := fmt.Sscan(l, &inside, &outside, &n); err == nil && inside <= first && n >= count && first-inside <= n-count {
			return true
		}
	}
	return false
}

// chooseUID gives the machine the user that its QEMU runs as, if it is to have one
// of its own: the one that it had before, or one that no other machine has.
func (a *attempt) chooseUID(tx *store.Tx) error {
	if !a.host.accounts.own {
		a.rec.UID = 0
		return nil
	}
	machines, err := tx.Machines()
	if err != nil {
		return err
	}
	taken := map[uint32]bool{}
	for _, m := range machines {
		if m.Name != a.rec.Name {
			taken[m.UID] = true
		}
	}
	a.rec.UID, err = pickUID(a.l.Dirs.State+"\x00"+a.rec.Name, a.rec.UID, taken)
	return err
}

// pickUID returns last, if it can be had, or the first one from a place on that
// depends on name: other installations on this host begin elsewhere. It is a pure
// function.
func pickUID(name string, last uint32, taken map[uint32]bool) (uint32, error) {
	if last >= firstOwnUID && last < firstOwnUID+ownUIDs && !taken[last] {
		return last, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	for i := range uint32(ownUIDs) {
		if uid := firstOwnUID + (h.Sum32()+i)%ownUIDs; !taken[uid] {
			return uid, nil
		}
	}
	return 0, fmt.Errorf("choose user for QEMU: all %d have a machine (--run-as USER)", ownUIDs)
}

// account returns who the attempt's QEMU runs as. It fails with a [*MissingError] if
// that one can't use what the machine needs.
func (a *attempt) account() (account, error) {
	c := a.host.accounts.named
	if a.host.accounts.own {
		c = account{uid: a.rec.UID, gid: a.rec.UID}
	}
	if !c.foreign() || a.host.accel.Name != configs.AccelKVM {
		return c, nil
	}
	var st syscall.Stat_t
	if err := syscall.Stat(kvmDevice, &st); err != nil {
		return c, fmt.Errorf("%s: %w", kvmDevice, err)
	}
	if c.may(&st, 6) {
		return c, nil
	}
	if c.groups = append(c.groups, st.Gid); st.Gid != 0 && c.may(&st, 6) {
		return c, nil
	}
	return c, &MissingError{What: kvmDevice + " that its group can open", Need: fmt.Sprintf("have KVM in a QEMU of uid %d", c.uid),
		Hint: "as distributions have it: chgrp kvm " + kvmDevice + "; chmod 660 " + kvmDevice + "; or --run-as root, or --accel tcg"}
}

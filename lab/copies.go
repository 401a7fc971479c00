package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
)

// Copies returns n copies of l, called NAME-1 to NAME-n; with n of 0 the one that
// is called as l is. It fails with [configs.Errors] or a plain error if a name
// gets too long.
func Copies(l configs.Lab, n int) ([]configs.Lab, error) {
	if n == 0 {
		c, err := l.Copy(l.Name)
		return []configs.Lab{c}, err
	}
	var all []configs.Lab
	for i := 1; i <= n; i++ {
		c, err := l.Copy(fmt.Sprintf("%s-%d", l.Name, i))
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// A ClashError says that machines of several copies ask for one CID in one CID
// space.
type ClashError struct {
	NoModes bool     // because this kernel has but one space
	Which   []string // "cid 42 (a.web, b.web)"
}

func (e *ClashError) Error() string {
	why, out := "in one CID space", "give them a local namespace, or cid: auto"
	if e.NoModes {
		why, out = "and this kernel has one CID space for all namespaces", "needs Linux 7.0 or later, or --nest; or cid: auto and vsock: global"
	}
	return fmt.Sprintf("copies of a lab ask for the same CIDs, %s: %s (%s)", why, strings.Join(e.Which, ", "), out)
}

// Is makes a ClashError on a kernel without modes an [errors.ErrUnsupported].
func (e *ClashError) Is(target error) bool { return e.NoModes && target == errors.ErrUnsupported }

// CheckCIDs fails with a [*ClashError] if machines of labs ask for the same CID in
// one space, as the copies of a lab do that has fixed CIDs outside of local
// namespaces. Modes says whether this kernel has local ones. It is a pure
// function.
func CheckCIDs(labs []configs.Lab, modes bool) error {
	type slot struct {
		space string
		cid   uint32
	}
	users := map[slot][]string{}
	var order []slot
	for _, l := range labs {
		for _, m := range l.Machines {
			if m.CID == 0 {
				continue
			}
			s := slot{cid: m.CID}
			if modes && m.Vsock == configs.VsockLocal || modes && strings.ContainsAny(m.Netns, "/:") {
				s.space = m.Netns
			}
			if users[s] == nil {
				order = append(order, s)
			}
			users[s] = append(users[s], m.Name)
		}
	}
	e := &ClashError{NoModes: !modes}
	for _, s := range order {
		if names := users[s]; len(names) > 1 {
			if len(names) > 3 {
				names = append(slices.Clone(names[:2]), fmt.Sprintf("%d more", len(names)-2))
			}
			e.Which = append(e.Which, fmt.Sprintf("cid %d (%s)", s.cid, strings.Join(names, ", ")))
		}
	}
	if len(e.Which) == 0 {
		return nil
	}
	return e
}

// IsCopyOf reports whether the lab called name is the one called base, or one of
// its copies.
func IsCopyOf(name, base string) bool {
	number, ok := strings.CutPrefix(name, base+"-")
	return base != "" && (name == base || ok && number != "" && number[0] != '0' && strings.Trim(number, "0123456789") == "")
}

package scenario

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/lab"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// stepWait bounds one step but those that bring machines up: a kernel that has no
// answer gives up a connection after 2 s, a guest under double emulation takes
// some of that.
const stepWait = 30 * time.Second

// endGrace is what guests get to power off when a scenario is over: nothing,
// nobody needs what they hold.
const endGrace = 0

// A Player plays scenarios, one after the other, on a launcher's installation.
type Player struct {
	Launcher *launcher.Launcher
	Said     func(string) // what goes on, in one line; may be nil
}

// Play plays s in a lab of its own, which is gone afterwards whatever happened, and
// reports what was seen. It fails only if the host can't be looked at, or if what
// was made can't be removed: everything else is a result.
func (p *Player) Play(ctx context.Context, s configs.Scenario) (r Report, err error) {
	begun := time.Now()
	r = Report{Scenario: s.Name, About: s.About, Kernel: kernel(), Steps: []StepReport{}}
	if r.Why, err = lacks(s); err != nil || r.Why != "" {
		r.Result = Skip
		return r, err
	}
	copied, err := s.Lab.Copy(labName())
	if err != nil {
		return r, err
	}
	st := newStage(p.Launcher, copied, p.Said)
	defer func() {
		st.close()
		err = errors.Join(err, st.clear(ctx))
		r.Took = time.Since(begun)
	}()
	if why := st.prepare(ctx, s.Containers); why != nil {
		r.Why = describe(why)
		r.settle()
		return r, nil
	}
	for i, step := range s.Steps {
		report := st.play(ctx, step)
		r.Steps = append(r.Steps, report)
		if !report.OK && decisive(step) || ctx.Err() != nil {
			for _, rest := range s.Steps[i+1:] {
				r.Steps = append(r.Steps, notPlayed(rest))
			}
			break
		}
	}
	r.settle()
	return r, context.Cause(ctx)
}

// decisive reports whether what follows makes no sense once s has not shown what it
// has to: it was to make something, and has not.
func decisive(s configs.Step) bool {
	return !s.Expect.Fails() && slices.Contains([]string{
		configs.StepUp, configs.StepStart, configs.StepListen, configs.StepClaim, configs.StepTogether, configs.StepWait,
	}, s.Verb)
}

// Elsewhere says why s is for hosts of another kind than this one, "" if it is not. It
// fails as vsock.OwnCID does.
func Elsewhere(s configs.Scenario) (string, error) {
	if s.Needs != configs.NeedsOwnCID {
		return "", nil
	}
	own, err := vsock.OwnCID()
	if err != nil || own.Guest() {
		return "", err
	}
	return "this host is no vsock guest itself (a nest can be: vmlaunch nest up --own-cid 77)", nil
}

// lacks says why this host can't play s, "" if it can.
func lacks(s configs.Scenario) (string, error) {
	if why, err := Elsewhere(s); err != nil || why != "" {
		return why, err
	}
	own, err := vsock.OwnCID()
	if err != nil {
		return "", err
	}
	if own.Guest() && expectsNobody(s.Steps) {
		return fmt.Sprintf("this host is a vsock guest itself, with cid %d: what nobody on it has is looked for on its own host (net.vsock.g2h_fallback), so ENODEV is not what tells that", own), nil
	}
	modes, err := vsock.Modes()
	if err != nil || modes {
		return "", err
	}
	return lacksModes(s), nil
}

// lacksModes says why a kernel whose namespaces have no vsock modes can't play s, ""
// if it can.
func lacksModes(s configs.Scenario) string {
	var local []string
	for _, ns := range s.Lab.Namespaces {
		if ns.Vsock == configs.VsockLocal {
			local = append(local, ns.Name)
		}
	}
	for _, c := range s.Containers {
		if c.Vsock == configs.VsockLocal {
			local = append(local, c.Name)
		}
	}
	if len(local) == 0 {
		return ""
	}
	why := fmt.Sprintf("this kernel has no vsock namespaces (Linux 7.0 and later have): %v would not be local", local)
	if c, err := s.Lab.Copy(s.Name); err == nil {
		if clash, ok := errors.AsType[*lab.ClashError](lab.CheckCIDs([]configs.Lab{c}, false)); ok {
			why += fmt.Sprintf(", and in the one CID space there is, machines would ask for the same: %v", clash.Which)
		}
	}
	return why
}

// expectsNobody reports whether a step has to fail because nobody has a CID.
func expectsNobody(steps []configs.Step) bool {
	return slices.ContainsFunc(steps, func(s configs.Step) bool {
		return s.Verb == configs.StepDial && s.Expect.Errno == unix.ErrnoName(unix.ENODEV) || expectsNobody(s.Together)
	})
}

// labName returns a name that no other play has.
func labName() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return fmt.Sprintf("scenario-%x", b)
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// play plays one step and judges what was seen.
func (st *stage) play(ctx context.Context, s configs.Step) StepReport {
	if st.said != nil {
		st.said(what(s))
	}
	begun := time.Now()
	r := StepReport{Line: s.Line, What: what(s), Played: true}
	switch s.Verb {
	case configs.StepTogether:
		r.Checks = st.together(ctx, s)
	case configs.StepOrder:
		r.Checks = st.order(s)
	default:
		got := st.act(ctx, s)
		r.Checks, r.Note = judge(s.Expect, got), got.note
	}
	r.Ended, r.Took = time.Now(), time.Since(begun)
	r.OK = !slices.ContainsFunc(r.Checks, func(c Check) bool { return !c.OK })
	if s.As != "" {
		st.mu.Lock()
		st.ended[s.As] = r.Ended
		st.mu.Unlock()
	}
	return r
}

// together plays steps at once.
func (st *stage) together(ctx context.Context, s configs.Step) []Check {
	all := make([]StepReport, len(s.Together))
	var wait sync.WaitGroup
	for i, step := range s.Together {
		wait.Go(func() { all[i] = st.play(ctx, step) })
	}
	wait.Wait()
	var checks []Check
	for _, r := range all {
		for _, c := range r.Checks {
			c.What = r.What + " " + c.What
			checks = append(checks, c)
		}
	}
	return checks
}

// order compares the times at which earlier steps ended.
func (st *stage) order(s configs.Step) []Check {
	st.mu.Lock()
	defer st.mu.Unlock()
	var checks []Check
	for i := 1; i < len(s.Steps); i++ {
		a, b := s.Steps[i-1], s.Steps[i]
		gap := st.ended[b].Sub(st.ended[a])
		checks = append(checks, Check{a + " ends", "before " + b, fmt.Sprintf("%v before", gap.Round(time.Millisecond)), gap > 0})
	}
	if len(checks) == 0 {
		checks = []Check{{"has an order", "two steps", fmt.Sprint(len(s.Steps)), false}}
	}
	return checks
}

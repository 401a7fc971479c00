package command

import (
	"fmt"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/store"
)

// machineJSON is a machine as `ls` and `inspect` print it. docs/JSON.md lists
// the fields; they are a promise.
type machineJSON struct {
	Name      string         `json:"name"`
	State     launcher.State `json:"state"`
	Ready     bool           `json:"ready"`
	Cause     string         `json:"cause"` // why State is failed
	CID       uint32         `json:"cid"`
	Netns     string         `json:"netns"` // "" is the host's own
	Mode      string         `json:"mode"`
	Image     string         `json:"image"`
	CPUs      int            `json:"cpus"`
	MemoryMiB int            `json:"memory_mib"`
	PID       int            `json:"pid"` // of QEMU, while it lives
	UptimeS   int64          `json:"uptime_seconds"`
	Created   time.Time      `json:"created"`
	Started   time.Time      `json:"started,omitzero"`
}

// inspectJSON is what only `inspect` prints.
type inspectJSON struct {
	machineJSON
	UUID      string          `json:"uuid"`
	Space     store.Space     `json:"space"` // within which the CID is unique
	NetnsInfo store.NetnsRef  `json:"namespace"`
	Spec      configs.Machine `json:"spec"`
	NICs      []store.NIC     `json:"nics"`   // of the last start
	Ports     []string        `json:"ports"`  // served now, as LISTEN:TARGET
	RunAs     string          `json:"run_as"` // the number of the user that QEMU runs as, while it lives
	Group     string          `json:"cgroup"` // that QEMU is in, of version 2, while it lives
	RunDir    string          `json:"run_dir"`
	Logs      logsJSON        `json:"logs"`
}

// logsJSON are the paths of a machine's logs, there or not.
type logsJSON struct {
	Console         string `json:"console"`
	ConsolePrevious string `json:"console_previous"`
	QEMU            string `json:"qemu"`
	QEMUPrevious    string `json:"qemu_previous"`
}

func toJSON(v launcher.View) machineJSON {
	m := machineJSON{
		Name:      v.Name,
		State:     v.State,
		Ready:     v.Ready,
		Cause:     v.Cause,
		CID:       uint32(v.CID),
		Netns:     v.Netns.Ref,
		Image:     v.Spec.Image,
		CPUs:      v.Spec.CPUs,
		MemoryMiB: v.Spec.MemoryMiB,
		PID:       v.QEMU.PID,
		UptimeS:   int64(v.Uptime / time.Second),
		Created:   v.Created,
		Started:   v.Started,
	}
	if v.Netns.Mode != 0 {
		m.Mode = v.Netns.Mode.String()
	}
	return m
}

func (m machineJSON) row() []string {
	return []string{
		m.Name, string(m.State), yes(m.Ready), nameOrHost(m.Netns), m.Mode, number(m.CID), m.Image,
		fmt.Sprint(m.CPUs), mib(m.MemoryMiB), short(time.Duration(m.UptimeS) * time.Second),
		number(uint32(m.PID)), m.Cause,
	}
}

func machineHead() []string {
	return []string{"NAME", "STATE", "READY", "NETNS", "MODE", "CID", "IMAGE", "CPU", "MEM", "UPTIME", "PID", "CAUSE"}
}

// where names the namespace of a machine, in a sentence.
func where(n store.NetnsRef) string {
	if n.Ref == "" {
		return fmt.Sprintf("the host's own namespace (%s)", n.Mode)
	}
	return fmt.Sprintf("netns %s (%s)", n.Ref, n.Mode)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func mib(n int) string { return fmt.Sprintf("%dM", n) }

// number writes n, or nothing for none.
func number(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// short writes a duration with its two largest units.
func short(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d <= 0:
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

package fakeqemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// options is what the fake understands of QEMU's command line; the rest of it
// is left to tests with a real QEMU.
type options struct {
	paused   bool
	cpus     int
	chardevs []group
	monitors []string // ids of the chardevs that carry QMP
	consoles []string // ids of the chardevs that carry a serial line
	vhost    []string // descriptors of vhost devices
	backends []string // ids of the chardevs that lead to what serves a vhost-user device
}

// A group is one comma list, such as socket,id=qmp,fd=3. The part that has no
// name is under "".
type group map[string]string

// parse reads a command line. It fails with QEMU's own complaint.
func parse(args []string) (options, error) {
	o := options{cpus: 1}
	for len(args) > 0 {
		name := args[0]
		args = args[1:]
		if name == "-S" {
			o.paused = true
			continue
		}
		if len(args) == 0 || !takesValue(name) {
			continue
		}
		if err := o.option(name, args[0]); err != nil {
			return o, fmt.Errorf("%s %s: %w", name, args[0], err)
		}
		args = args[1:]
	}
	return o, nil
}

func takesValue(name string) bool {
	switch name {
	case "-chardev", "-mon", "-serial", "-device", "-accel", "-smp":
		return true
	}
	return false
}

func (o *options) option(name, value string) error {
	g := split(value)
	switch name {
	case "-chardev":
		o.chardevs = append(o.chardevs, g)
	case "-mon":
		if g["mode"] == "control" {
			o.monitors = append(o.monitors, g["chardev"])
		}
	case "-serial":
		if id, ok := strings.CutPrefix(value, "chardev:"); ok {
			o.consoles = append(o.consoles, id)
		}
	case "-device":
		return o.device(g)
	case "-accel":
		if g[""] == "kvm" {
			return errors.New("Could not access KVM kernel module: No such file or directory")
		}
	case "-smp":
		n := g[""]
		if n == "" {
			n = g["cpus"]
		}
		cpus, err := strconv.Atoi(n)
		if err != nil || cpus < 1 {
			return fmt.Errorf("Invalid parameter type for 'cpus', expected: number")
		}
		o.cpus = cpus
	}
	return nil
}

func (o *options) device(g group) error {
	driver := g[""]
	if driver == "" {
		driver = g["driver"]
	}
	switch {
	case strings.HasPrefix(driver, "vhost-vsock"):
		if g["guest-cid"] == "" {
			return errors.New("guest-cid property must be greater than 2")
		}
		if fd, ok := g["vhostfd"]; ok {
			if err := isOpen(fd); err != nil {
				return fmt.Errorf("vhost-vsock: unable to set non-blocking mode: %w", err)
			}
			o.vhost = append(o.vhost, fd)
		}
	case strings.HasPrefix(driver, "vhost-user"):
		o.backends = append(o.backends, g["chardev"])
	case g["chardev"] != "":
		o.consoles = append(o.consoles, g["chardev"])
	}
	return nil
}

// split reads a comma list, in which two commas stand for one, or the JSON form
// that -device takes too.
func split(list string) group {
	g := group{}
	if strings.HasPrefix(list, "{") {
		var m map[string]any
		if json.Unmarshal([]byte(list), &m) == nil {
			for k, v := range m {
				g[k] = fmt.Sprint(v)
			}
		}
		return g
	}
	const comma = "\x00"
	for i, part := range strings.Split(strings.ReplaceAll(list, ",,", comma), ",") {
		part = strings.ReplaceAll(part, comma, ",")
		name, value, ok := strings.Cut(part, "=")
		switch {
		case ok:
			g[name] = value
		case i == 0:
			g[""] = part
		default:
			g[part] = "on"
		}
	}
	return g
}

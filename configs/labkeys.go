package configs

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// A labKey is a key that a lab file can have at its top.
type labKey struct{ name, doc string }

func labKeys() []labKey {
	return []labKey{
		{"name", "what the lab is called; the name of its folder if it is not said"},
		{"namespaces", "network namespaces by name: vsock (local or global) for one that is made with the lab, or adopt for one that is there"},
		{"defaults", "what every machine has unless it says otherwise; keys as in machines"},
		{"machines", "machines by name"},
	}
}

// The forms that the value of a key has, for the schema.
const (
	formText   = "text"
	formNumber = "number"
	formTexts  = "texts"
	formFlag   = "flag"
	formMap    = "map"
	formCID    = "cid"
	formDepend = "depends"
)

// A machineKey is a key that a machine of a lab file can have. The table of them
// is what is read, what the schema says, and what docs/LAB.md shows.
type machineKey struct {
	name  string
	form  string
	doc   string
	of    string // the field as Validate calls it, where that is not name
	allow []string
	read  func(r *labReader, key, v *yaml.Node, m *machineEntry)
}

func (k machineKey) field() string {
	if k.of != "" {
		return k.of
	}
	return k.name
}

// A machineEntry is a machine as the file has it: all its replicas.
type machineEntry struct {
	LabMachine
	replicas *int
	profiles []string
}

func machineKeys() []machineKey {
	return []machineKey{
		{name: "image", form: formText, doc: "linux (default), probe, or a disk image: its path, or the name it was or will be pulled by",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.path(key, v, &m.Image) }},
		{name: "kernel", form: formText, doc: "kernel of a linux guest: host, light, distro:VERSION, or a path",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.path(key, v, &m.Kernel) }},
		{name: "append", form: formText, doc: "added to the kernel's command line", of: "append",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.Append) }},
		{name: "initrd", form: formText, doc: "initramfs for the kernel of a disk guest",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.file(key, v, &m.Initrd) }},
		{name: "disk_size", form: formText, doc: "what a disk guest's disk is grown to, such as 20G", of: "disk-size", read: readDiskSize},
		{name: "disk_bus", form: formText, doc: "what its disks hang on", of: "disk-bus", allow: []string{BusVirtioBlk, BusVirtioSCSI},
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.DiskBus) }},
		{name: "disks", form: formTexts, doc: "more disks: PATH, or OPTION,…:PATH", of: "disk", read: readDisks},
		{name: "ephemeral", form: formFlag, doc: "what a disk guest writes is gone when it stops",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.flag(key, v, &m.Ephemeral) }},
		{name: "firmware", form: formText, doc: "what boots a disk", allow: []string{FirmwareBIOS, FirmwareUEFI},
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.Firmware) }},
		{name: "tpm", form: formFlag, doc: "a TPM 2.0, of software",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.flag(key, v, &m.TPM) }},
		{name: "networks", form: formTexts, doc: "network devices, as --net has them: user, passt, bridge, bridge=NAME, tap=NAME", of: "net",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) {
				m.Networks = readEach(r, key, v, ParseNetwork)
			}},
		{name: "mounts", form: formTexts, doc: "folders of the host: HOST:GUEST or HOST:GUEST:ro", of: "mount", read: readMounts},
		{name: "mount_type", form: formText, doc: "how they get into the guest", of: "mount-type", allow: []string{MountVirtiofs, Mount9p},
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.MountType) }},
		{name: "ports", form: formTexts, doc: "ports of the host that lead into it: LISTEN:TARGET", of: "port",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.texts(key, v, &m.Ports) }},
		{name: "user", form: formText, doc: "who users are in a disk guest (default root)",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.User) }},
		{name: "ssh_keys", form: formTexts, doc: "public keys that are let in as well", of: "ssh-key",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.texts(key, v, &m.SSHKeys) }},
		{name: "user_data", form: formText, doc: "file of user data for cloud-init", of: "user-data",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.file(key, v, &m.UserData) }},
		{name: "network_config", form: formText, doc: "file of network configuration for cloud-init", of: "network-config",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.file(key, v, &m.NetworkConfig) }},
		{name: "credentials", form: formTexts, doc: "credentials for systemd: NAME=VALUE or NAME=@FILE", of: "credential", read: readCredentials},
		{name: "ready", form: formText, doc: "what a start waits for", allow: []string{ReadyNotify, ReadySSH, ReadyNone},
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.Ready) }},
		{name: "cpus", form: formNumber, doc: "virtual CPUs",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) {
				n, _ := r.number(key, v, 1, maxCPUs)
				m.CPUs = int(n)
			}},
		{name: "memory", form: formText, doc: "memory, such as 512M or 2G", read: readMemory},
		{name: "hugepages", form: formFlag, doc: "guest memory in huge pages",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.flag(key, v, &m.Hugepages) }},
		{name: "cpu_limit", form: formText, doc: "at most so many of the host's processors, such as 1.5", of: "cpu-limit", read: readCPULimit},
		{name: "memory_limit", form: formText, doc: "at most so much of the host's memory", of: "memory-limit", read: readMemoryLimit},
		{name: "tasks_limit", form: formNumber, doc: "at most so many threads and processes", of: "tasks-limit",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) {
				n, _ := r.number(key, v, 1, 1<<22)
				m.Limits.Tasks = int(n)
			}},
		{name: "run_as", form: formText, doc: "the user that QEMU runs as", of: "run-as",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.RunAs) }},
		{name: "netns", form: formText, doc: "namespace: one of the lab's, or a path, pid:N or container:NAME; this one if it is not said",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.Netns) }},
		{name: "cid", form: formCID, doc: "auto (default), a number, or a range such as 100-199 to choose from", read: readCID},
		{name: "accel", form: formText, doc: "accelerator", allow: []string{AccelAuto, AccelKVM, AccelTCG},
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.Accel) }},
		{name: "machine", form: formText, doc: "QEMU's board", allow: []string{BoardPC, BoardQ35},
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.text(key, v, &m.Board) }},
		{name: "qemu", form: formText, doc: "another QEMU: a name, or a path",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.path(key, v, &m.QEMU) }},
		{name: "qemu_args", form: formTexts, doc: "more words for QEMU's command line", of: "argument",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.texts(key, v, &m.QEMUArgs) }},
		{name: "ready_timeout", form: formText, doc: "how long its guest may take to be ready, such as 90s", of: "timeout", read: readTimeout},
		{name: "labels", form: formMap, doc: "the writer's own, for filters",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.labelled(key, v, &m.Labels) }},
		{name: "restart", form: formText, doc: "when systemd restarts it, by the unit that systemd-unit prints", allow: Restarts(), read: readRestart},
		{name: "replicas", form: formNumber, doc: "how many there are of it, called NAME-1, NAME-2 …", read: readReplicas},
		{name: "depends_on", form: formDepend, doc: "machines that have to be ready before it starts, or by name: running or ready", read: readDepends},
		{name: "extends", form: formText, doc: "a machine of the lab whose keys it has unless it says otherwise",
			read: func(*labReader, *yaml.Node, *yaml.Node, *machineEntry) {}}, // see inherit
		{name: "profiles", form: formTexts, doc: "it is in the lab only if one of these is asked for (--profile)",
			read: func(r *labReader, key, v *yaml.Node, m *machineEntry) { r.texts(key, v, &m.profiles) }},
	}
}

func machineKeyNames() []string {
	var names []string
	for _, k := range machineKeys() {
		names = append(names, k.name)
	}
	return names
}

func readMemory(r *labReader, key, v *yaml.Node, m *machineEntry) {
	var s string
	if !r.text(key, v, &s) {
		return
	}
	mib, err := ParseMemory(s)
	if err != nil {
		r.fail(v, "%v", err)
		return
	}
	if m.MemoryMiB = mib; mib < 1 {
		r.fail(v, "memory %q: want at least 1M", s)
	}
}

func readRestart(r *labReader, key, v *yaml.Node, m *machineEntry) {
	if r.text(key, v, &m.Restart) && !slices.Contains(Restarts(), m.Restart) {
		r.fail(v, "restart %q: want %s", m.Restart, strings.Join(Restarts(), ", "))
	}
}

func readDiskSize(r *labReader, key, v *yaml.Node, m *machineEntry) {
	var s string
	if !r.text(key, v, &s) {
		return
	}
	mib, err := ParseDiskSize(s)
	if err != nil {
		r.fail(v, "%v", err)
	}
	m.DiskSizeMiB = mib
}

// readEach reads a list of texts, each by parse.
func readEach[T any](r *labReader, key, v *yaml.Node, parse func(string) (T, error)) []T {
	var texts []string
	r.texts(key, v, &texts)
	var all []T
	for i, s := range texts {
		at := v
		if v.Kind == yaml.SequenceNode && len(v.Content) == len(texts) {
			at = v.Content[i]
		}
		one, err := parse(s)
		if err != nil {
			r.fail(at, "%v", err)
		}
		all = append(all, one)
	}
	return all
}

func readDisks(r *labReader, key, v *yaml.Node, m *machineEntry) {
	m.Disks = readEach(r, key, v, ParseDisk)
	for i := range m.Disks {
		m.Disks[i].Path = r.from(v, m.Disks[i].Path)
	}
}

func readMounts(r *labReader, key, v *yaml.Node, m *machineEntry) {
	m.Mounts = readEach(r, key, v, ParseMount)
	for i := range m.Mounts {
		m.Mounts[i].Host = r.from(v, m.Mounts[i].Host)
	}
}

func readCredentials(r *labReader, key, v *yaml.Node, m *machineEntry) {
	m.Credentials = readEach(r, key, v, ParseCredential)
	for i := range m.Credentials {
		if c := &m.Credentials[i]; c.File != "" {
			c.File = r.from(v, c.File)
		}
	}
}

func readMemoryLimit(r *labReader, key, v *yaml.Node, m *machineEntry) {
	var s string
	if !r.text(key, v, &s) {
		return
	}
	mib, err := ParseMemory(s)
	if err != nil {
		r.fail(v, "%s: %v", key.Value, err)
	}
	m.Limits.MemoryMiB = mib
}

func readCPULimit(r *labReader, key, v *yaml.Node, m *machineEntry) {
	var s string
	if !r.text(key, v, &s) {
		return
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n >= 0.01 && n <= maxCPUs) {
		r.fail(v, "%s %q: want 0.01 to %d processors", key.Value, s, maxCPUs)
		return
	}
	m.Limits.CPUPercent = int(math.Round(n * 100))
}

func readTimeout(r *labReader, key, v *yaml.Node, m *machineEntry) {
	var s string
	if !r.text(key, v, &s) {
		return
	}
	if err := m.ReadyTimeout.UnmarshalText([]byte(s)); err != nil {
		r.fail(v, "%s: %v", key.Value, err)
	} else if time.Duration(m.ReadyTimeout) <= 0 {
		r.fail(v, "%s %q: want more than zero", key.Value, s)
	}
}

func readCID(r *labReader, key, v *yaml.Node, m *machineEntry) {
	var s string
	if !r.text(key, v, &s) || s == "auto" {
		return
	}
	if in, err := ParseCIDRange(s); err == nil {
		m.CID, m.CIDRange = 0, in
		return
	}
	in, err := ParseCIDRange(s + "-" + s)
	if err != nil {
		r.fail(v, "cid %q: want auto, a number from %d to %d, or a range such as 100-199", s, firstCID, uint32(lastCID))
		return
	}
	m.CID, m.CIDRange = in.First, CIDRange{}
}

func readReplicas(r *labReader, key, v *yaml.Node, m *machineEntry) {
	if n, ok := r.number(key, v, 0, maxMachines); ok {
		replicas := int(n)
		m.replicas = &replicas
	}
}

// readDepends reads a list of machines, or a mapping of them to conditions.
func readDepends(r *labReader, key, v *yaml.Node, m *machineEntry) {
	if v.Kind != yaml.MappingNode {
		var names []string
		r.texts(key, v, &names)
		for _, name := range names {
			m.DependsOn[name] = DependsReady
		}
		return
	}
	r.mapping(v, key.Value, func(k, v *yaml.Node) {
		var condition string
		if !r.text(k, v, &condition) {
			return
		}
		if condition != DependsReady && condition != DependsRunning {
			r.fail(v, "depends_on %s %q: want ready or running", k.Value, condition)
		}
		m.DependsOn[k.Value] = condition
	})
}

// A Key is a key of a lab's file, for documents.
type Key struct {
	Name, Doc string
	Allow     []string // the values it takes; none if there are many
}

// LabKeys returns the keys at the top of a lab's file.
func LabKeys() []Key {
	var all []Key
	for _, k := range labKeys() {
		all = append(all, Key{Name: k.name, Doc: k.doc})
	}
	return all
}

// MachineKeys returns the keys that a machine of a lab's file can have.
func MachineKeys() []Key {
	var all []Key
	for _, k := range machineKeys() {
		all = append(all, Key{k.name, k.doc, k.allow})
	}
	return all
}

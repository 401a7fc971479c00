package fakeqemu

import "encoding/json"

// Behaviour is how a fake QEMU differs from a good one, which the zero value
// is. A good one's guest prints a line at boot and obeys the power button.
// Commands are named as in QMP.
type Behaviour struct {
	DieAtStart string `json:",omitempty"` // complains so and exits before it listens
	Exit       int    `json:",omitempty"` // exit code, also of an orderly end

	Mute     bool   `json:",omitempty"` // accepts clients and says nothing
	HangOn   string `json:",omitempty"` // stops for ever, in all its monitors, at this command
	DieOn    string `json:",omitempty"` // is killed by SIGKILL at this command
	LeaveOn  string `json:",omitempty"` // drops the connection at this command and lives on
	RefuseOn string `json:",omitempty"` // refuses this command with a GenericError

	GarbageOn string `json:",omitempty"` // says Garbage instead of a reply to this command
	Garbage   string `json:",omitempty"`
	TwiceOn   string `json:",omitempty"` // replies twice to this command
	PadOn     string `json:",omitempty"` // adds 1 MiB to the answer of this command, an object

	Glue  bool `json:",omitempty"` // sends an event in one piece with the handshake's reply
	Split bool `json:",omitempty"` // sends everything in pieces of 5 bytes

	IgnorePowerdown bool   `json:",omitempty"` // its guest does not obey the power button
	Console         string `json:",omitempty"` // what its guest prints at boot, if not "fakeqemu: booted"
	PanicAtBoot     bool   `json:",omitempty"` // its guest shuts down as soon as it has printed that
}

// String returns b as the value of [Env].
func (b Behaviour) String() string {
	s, err := json.Marshal(b)
	if err != nil {
		panic(err) // strings, numbers and booleans always encode
	}
	return string(s)
}

// Environ returns b as an entry of a process's environment.
func (b Behaviour) Environ() string { return Env + "=" + b.String() }

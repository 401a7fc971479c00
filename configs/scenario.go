package configs

// A Scenario is a lab, steps that are played on it, and what each of them has to
// show. It is a plain value.
type Scenario struct {
	Name  string `json:"name"`
	About string `json:"about,omitempty"`
	Lab   Lab    `json:"lab"`
	Steps []Step `json:"steps"`

	Needs      string              `json:"needs,omitempty"` // what the host has to be: [NeedsOwnCID], or nothing
	Containers []ScenarioContainer `json:"containers,omitempty"`
}

// NeedsOwnCID as Scenario.Needs asks for a host that is a vsock guest itself. The
// variable OWN_CID is its CID there.
const NeedsOwnCID = "own_cid"

// A ScenarioContainer is a process with namespaces of its own, as a container's
// runtime starts one, which lives while the scenario is played. A machine whose Netns
// is container:NAME is put into its network namespace.
type ScenarioContainer struct {
	Name  string `json:"name"`
	Vsock string `json:"vsock"` // global or local
}

// A Step is one thing that is done, and what it has to show. Which fields it has
// besides Verb and Expect goes by the verb; see [StepVerbs].
type Step struct {
	Verb  string `json:"verb"`
	Title string `json:"title,omitempty"` // what it shows, in words
	Line  int    `json:"line"`            // of the file

	Machines    []string `json:"machines,omitempty"`
	From        string   `json:"from,omitempty"` // host, a namespace, a machine or a container
	To          string   `json:"to,omitempty"`   // a machine, or what listens
	In          string   `json:"in,omitempty"`   // host, a namespace or a container
	CID         uint32   `json:"cid,omitempty"`
	Port        uint32   `json:"port,omitempty"`
	Text        string   `json:"text,omitempty"`
	As          string   `json:"as,omitempty"` // the name of what the step opens
	On          string   `json:"on,omitempty"` // the name of what an earlier step opened
	Mode        string   `json:"mode,omitempty"`
	Command     []string `json:"command,omitempty"`
	Connections int      `json:"connections,omitempty"`
	Bytes       int      `json:"bytes,omitempty"` // through each connection
	Together    []Step   `json:"together,omitempty"`
	Steps       []string `json:"steps,omitempty"` // names of earlier steps, in the order in which they must have ended

	Expect Expect `json:"expect,omitzero"`
}

// An Expect is what a step has to show. The zero Expect wants it to succeed.
type Expect struct {
	Errno   string `json:"errno,omitempty"`   // fails with this one, such as ENODEV
	Error   string `json:"error,omitempty"`   // fails with these words in the error
	Reached string `json:"reached,omitempty"` // the machine that answered
	Answer  string `json:"answer,omitempty"`
	Mode    string `json:"mode,omitempty"`
	Exit    *int   `json:"exit,omitempty"` // of the program
	Closed  bool   `json:"closed,omitempty"`
}

// Fails reports whether the step has to fail.
func (e Expect) Fails() bool { return e.Errno != "" || e.Error != "" }

// A StepVerb is what a step can do, for documents and for errors.
type StepVerb struct {
	Name   string
	Doc    string
	Fields []string // what it takes
	Shows  []string // what can be expected of it, besides errno and error
}

// The verbs of steps, as values of [Step.Verb].
const (
	StepUp        = "up"
	StepStop      = "stop"
	StepStart     = "start"
	StepKill      = "kill"
	StepRemove    = "rm"
	StepDial      = "dial"
	StepSay       = "say"
	StepListen    = "listen"
	StepClaim     = "claim"
	StepClose     = "close"
	StepMode      = "mode"
	StepChildMode = "child_mode"
	StepUnpin     = "delete_namespace"
	StepLoad      = "load"
	StepExec      = "exec"
	StepWait      = "wait"
	StepTogether  = "together"
	StepOrder     = "order"
)

// StepVerbs returns what steps can do.
func StepVerbs() []StepVerb {
	return []StepVerb{
		{StepUp, "brings machines up until they are ready, and the namespaces of the lab before them", []string{"machines"}, nil},
		{StepStart, "starts machines that are down", []string{"machines"}, nil},
		{StepStop, "asks machines to power off", []string{"machines"}, nil},
		{StepKill, "ends machines without asking", []string{"machines"}, nil},
		{StepRemove, "removes machines, running or not", []string{"machines"}, nil},
		{StepWait, "waits until machines are ready", []string{"machines"}, nil},
		{StepDial, "connects from a place to a machine, to what listens, or to a cid (port: where a probe tells its name); sends text, if there is any, and reads a line; with as it keeps the connection",
			[]string{"from", "to", "cid", "port", "text", "as"}, []string{"reached", "answer"}},
		{StepSay, "sends text on a connection that was kept and reads a line", []string{"on", "text"}, []string{"answer", "closed"}},
		{StepListen, "listens in a namespace and sends back what comes", []string{"in", "port", "as"}, nil},
		{StepClaim, "takes a cid as another program would, without a machine", []string{"in", "cid", "as"}, nil},
		{StepClose, "closes what was kept, listens or was claimed; ends a container", []string{"on"}, nil},
		{StepMode, "reads the vsock mode of a namespace", []string{"in"}, []string{"mode"}},
		{StepChildMode, "writes the mode that children of a namespace get", []string{"in", "mode"}, nil},
		{StepUnpin, "takes the name off a namespace, as ip netns del does", []string{"in"}, nil},
		{StepLoad, "sends bytes to the echo port of a machine over many connections at once, and compares what comes back", []string{"from", "to", "connections", "bytes"}, nil},
		{StepExec, "runs a command in a machine, or asks a probe", []string{"on", "command"}, []string{"answer", "exit"}},
		{StepTogether, "plays steps at once", []string{"together"}, nil},
		{StepOrder, "earlier steps, by their names, ended in this order", []string{"steps"}, nil},
	}
}

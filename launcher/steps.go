package launcher

import "slices"

// Steps returns the names of the steps of a launch, in order, as Config.Step is
// called with them; "keep" comes when all are done.
func Steps() []string {
	var names []string
	for _, s := range launchSteps() {
		names = append(names, s.name)
	}
	return append(names, "keep")
}

// VerbSteps returns the same for every verb that writes, by the verb as it is
// typed. The last one comes when all is done. A verb that finds nothing to do at a
// step has it all the same.
func VerbSteps() map[string][]string {
	ask := []string{"stop:record", "stop:ask"}
	down := []string{"stop:quit", "stop:daemons", "stop:cid", "stop:files", "stop:down", "stop:done"}
	remove := []string{"rm:record", "rm:run", "rm:state", "rm:forget", "rm:network", "rm:netns", "rm:ledger", "rm:done"}
	return map[string][]string{
		"up":           Steps(),
		"start":        Steps(),
		"stop":         slices.Concat(ask, down),
		"kill":         slices.Concat([]string{"stop:record", "kill:qemu"}, down),
		"restart":      slices.Concat(ask, down, Steps()),
		"rm":           slices.Concat(down, remove), // of a machine that is down
		"down":         slices.Concat(ask, down, remove),
		"netns create": {"netns-create:record", "netns-create:pin", "netns-create:confirm", "netns-create:done"},
		"netns rm":     {"netns-rm:record", "netns-rm:unpin", "netns-rm:forget", "netns-rm:done"},
	}
}

// Package lab brings up what a vmlaunch.yaml declares: namespaces, and machines
// in them, once or as many copies. What is to be done is a [Change], found by the
// pure function [Plan] from the lab and from what there is; [Runner.Up] does the
// changes, those that wait for nothing at once, and [Runner.Down] takes a lab
// away. Either can be broken off anywhere and begun again.
package lab

// Package scenario plays scenarios: steps on a lab, each with what it has to
// show. What was seen is compared with that by the pure function [judge], and
// kept with it, so that a report is evidence and not an opinion.
package scenario

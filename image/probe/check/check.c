/* Runs the native tests: all, or those named as arguments. */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "peer.h"

static const struct {
	const char *name;
	void (*run)(void);
} checks[] = {
#define ENTRY(name) {#name, name},
	CHECKS(ENTRY)
#undef ENTRY
};

static int wanted(const char *name, int count, char **names)
{
	for (int i = 1; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return 1;
	return count < 2;
}

int main(int count, char **names)
{
	int ran = 0;

	for (unsigned i = 0; i < sizeof checks / sizeof checks[0]; i++) {
		if (!wanted(checks[i].name, count, names))
			continue;
		check_name = checks[i].name;
		peer_start();
		checks[i].run();
		ran++;
	}
	if (ran == 0) {
		fprintf(stderr, "no such check\n");
		return 2;
	}
	printf("probe: %d checks passed\n", ran);
	return 0;
}

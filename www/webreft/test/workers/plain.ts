/** The worker as it is, for tests that end it. */
import "webreft/worker";

// How long the browser's tests wait before they give up. A limit ends what hangs and measures nothing, so it is
// generous; FLYWHEEL_TEST_PATIENCE, a factor, scales it on a slow or busy machine.
const factor = Number(process.env.FLYWHEEL_TEST_PATIENCE || 1);
if (!(factor > 0)) throw new Error(`FLYWHEEL_TEST_PATIENCE must be a number above 0, such as 2.5, not ${process.env.FLYWHEEL_TEST_PATIENCE}`);

/** Milliseconds that a test waits for one thing. */
export const patience = 120_000 * factor;

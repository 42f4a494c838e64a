// What W is put on, by the codes of kernel::Learned.
const BIAS = 0u;   // nothing: z = b
const STATE = 1u;  // the row itself
const INPUT = 2u;  // the input of the module whose output is edited
const SOURCE = 3u; // nothing: z = P·s, s a row of another run

// The place in theta of what an edit does not have.
const NONE = 0xffffffffu;

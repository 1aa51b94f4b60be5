/* Keeps the program startable on glibc 2.34 (Amazon Linux 2023, RHEL 9) when it is linked on a newer one.
 *
 * glibc 2.35 gave hypot and hypotf a new symbol version, whose one difference is that it does not call a handler of System V. A program
 * linked there asks for that version and is refused by an older loader. The program gets functions of its own, on the version before.
 */
#if defined(__aarch64__)
#define BASE "GLIBC_2.17"
#elif defined(__x86_64__)
#define BASE "GLIBC_2.2.5"
#else
#error "no base version of glibc is known for this architecture"
#endif

extern double hypot_before(double x, double y);
extern float hypotf_before(float x, float y);
__asm__(".symver hypot_before, hypot@" BASE);
__asm__(".symver hypotf_before, hypotf@" BASE);

/* Hidden, or the loader would take them for the ones they call. */
#define HIDDEN __attribute__((visibility("hidden")))
HIDDEN double hypot(double x, double y) { return hypot_before(x, y); }
HIDDEN float hypotf(float x, float y) { return hypotf_before(x, y); }

#pragma once

/// Before a function that pcomp::compiled builds once: declared in a header and defined in impl/*.ipp, which a unit
/// without PCOMP_COMPILED includes, so that header-only use needs nothing to link.
#if defined(PCOMP_COMPILED)
#define PCOMP_IMPL
#else
#define PCOMP_IMPL inline
#endif

#pragma once

/// Every compile-time refusal of pcomp, one line each: what the compiler says when a wire, a stage or a schedule
/// makes no sense.
///
/// Two techniques, both giving exactly one error. A mistake between two operands is a deleted overload whose
/// return type is the reason, so that `requires { a | b; }` stays testable. A mistake inside one template's
/// own parameters is a failed assertion whose text is the reason.
namespace pcomp::refuse {

// clang-format off
template <class A, class B> struct TWO_CODECS_WITH_THE_SAME_ROLE_ON_ONE_WIRE;
template <class W, class S> struct THIS_SHAPE_LACKS_THE_DIMENSIONS_THAT_DOWNSAMPLE_POOLS_FOUR_OR_MORE_OR_THOSE_NAMED_AS_IN_Axes_1;
template <class A, class B> struct A_CODEC_IS_AN_EMPTY_TYPE_WITH_A_CONSTEXPR_role_AND_name;
template <class T> struct VERBATIM_IS_A_WIRE_OF_ITS_OWN_AND_IS_NOT_JOINED_WITH_OTHERS;

template <bool ok> consteval bool ratio_denominator()      { static_assert(ok, "pcomp: Ratio<N, D> needs D of at least 1"); return true; }
template <bool ok> consteval bool ratio_outside_0_1()      { static_assert(ok, "pcomp: TopK keeps a Ratio in (0, 1]"); return true; }
template <bool ok> consteval bool bit_width()              { static_assert(ok, "pcomp: Quant takes 1 to 8 or 16 bits"); return true; }
template <bool ok> consteval bool step_bit_width()         { static_assert(ok, "pcomp: Step takes 2 to 8 or 16 bits"); return true; }
template <bool ok> consteval bool step_size()              { static_assert(ok, "pcomp: Step's size must be above 0"); return true; }
template <bool ok> consteval bool group_size()             { static_assert(ok, "pcomp: Quant has one scale PerTensor or PerGroup<N>, N 128, 256, 512, 1024 or 2048"); return true; }
template <bool ok> consteval bool coder_group()            { static_assert(ok, "pcomp: a coder's group is 128, 256, 512, 1024 or 2048 elements, or 0 for all that is sent"); return true; }
template <bool ok> consteval bool group_of_at_least_1()    { static_assert(ok, "pcomp: PerGroup<N> needs N of at least 1"); return true; }
template <bool ok> consteval bool pool_factor()            { static_assert(ok, "pcomp: Downsample<K> takes K from 1 to 256"); return true; }
template <bool ok> consteval bool axes()                   { static_assert(ok, "pcomp: Axes<...> names dimensions 1 to 7, or -1 to -7 from the last one on, each once: dimension 0 is the batch"); return true; }
template <bool ok> consteval bool rotation_size()          { static_assert(ok, "pcomp: Hadamard<N> takes 32 or 64"); return true; }
template <bool ok> consteval bool rotation_signs()         { static_assert(ok, "pcomp: Hadamard<N, Signs> takes PlainSigns or RandomSigns"); return true; }
template <bool ok> consteval bool rotation_alone()         { static_assert(ok, "pcomp: Hadamard rotates what a coder codes: join it with Quant or another coder"); return true; }
template <bool ok> consteval bool feedback_alone()         { static_assert(ok, "pcomp: feedback is for what a codec loses: join it with Quant, TopK or another one"); return true; }
template <bool ok> consteval bool residual_of_shape()      { static_assert(ok, "pcomp: ErrorFeedback would never send what Downsample leaves out: use EF21 or Delta with it"); return true; }
template <bool ok> consteval bool estimate_of_restricted() { static_assert(ok, "pcomp: the gradient of a selection or a Downsample takes ErrorFeedback alone: EF21 and Delta would keep what the loss does not depend on"); return true; }
template <bool ok> consteval bool first_visit()            { static_assert(ok, "pcomp: Delta<First> takes codecs joined by | (or Raw), without feedback"); return true; }
template <bool ok> consteval bool kept_messages()          { static_assert(ok, "pcomp: Delta<First, Keep> keeps messages as Raw or BFloat16"); return true; }
template <bool ok, class C> consteval bool coder_bits()     { static_assert(ok, "pcomp: a coder needs static constexpr int bits, 1 to 8, 16 or 32"); return true; }
template <bool ok, class C> consteval bool coder_scale()    { static_assert(ok, "pcomp: a coder's Scale is trivially copyable, made by static Scale fit(Range)"); return true; }
template <bool ok, class C> consteval bool coder_prepare()  { static_assert(ok, "pcomp: a coder's prepare is static and takes its Scale, and what it returns can be copied"); return true; }
template <bool ok, class C> consteval bool coder_chance()   { static_assert(ok, "pcomp: a stochastic coder needs a Scale: its noise is drawn for each scale and position"); return true; }
template <bool ok, class C> consteval bool coder_encode()   { static_assert(ok, "pcomp: a coder needs static std::uint32_t encode(float); with a Scale, encode(float, Scale), or what prepare returns; if stochastic, a float of noise after it"); return true; }
template <bool ok, class C> consteval bool coder_decode()   { static_assert(ok, "pcomp: a coder needs static float decode(std::uint32_t); with a Scale, decode(std::uint32_t, Scale), or what prepare returns"); return true; }
template <bool ok, class C> consteval bool short_cut()      { static_assert(ok, "pcomp: magnitude promises that a selection scores as TopK does, and is TopK's alone: leave it out"); return true; }
template <bool ok, class C> consteval bool shape_members()  { static_assert(ok, "pcomp: a shape codec needs static constexpr int factor and static Extents shaped(Extents)"); return true; }
template <bool ok, class C> consteval bool select_members() { static_assert(ok, "pcomp: a selection needs static std::int64_t segment(Extents), std::int64_t keep(std::int64_t) and std::uint32_t score(float, std::int64_t)"); return true; }
template <bool ok, class C> consteval bool rotate_members() { static_assert(ok, "pcomp: a rotation needs static constexpr int block, 32 or 64, bool random_signs and float scale, and static std::uint32_t signs(std::int64_t, int)"); return true; }
template <bool ok, class C> consteval bool memory_members() { static_assert(ok, "pcomp: feedback needs static constexpr Memory memory and bool in_bfloat16; with Memory::samples, a First"); return true; }
template <bool ok> consteval bool boundary_with_memory()   { static_assert(ok, "pcomp: a wire with feedback has a memory: make a Boundary of it, boundary<...>() has none"); return true; }
template <bool ok> consteval bool extent()                 { static_assert(ok, "pcomp: a Shape has 1 to 8 extents, each at least 1"); return true; }
template <bool ok> consteval bool not_a_wire()             { static_assert(ok, "pcomp: Wire<...> takes codecs joined by | (or Raw)"); return true; }
template <bool ok> consteval bool gradient_shape()         { static_assert(ok, "pcomp: the gradient of a selection is a list: no Downsample or PerSample scope on it"); return true; }
template <bool ok> consteval bool last_stage_with_wire()   { static_assert(ok, "pcomp: the last stage of a Pipeline sends nothing: remove its Wire"); return true; }
template <bool ok> consteval bool missing_wire()           { static_assert(ok, "pcomp: every stage but the last needs a Wire to the next, one for each tensor that it hands over"); return true; }
template <bool ok> consteval bool stage_forward()          { static_assert(ok, "pcomp: a stage needs forward(Tensor) or operator()(Tensor) that returns a Tensor, or from and to several Tensors"); return true; }
template <bool ok> consteval bool stage_hands_over()       { static_assert(ok, "pcomp: a stage needs one Wire for each tensor that it returns, and the last stage returns one tensor"); return true; }
template <bool ok> consteval bool stage_takes()            { static_assert(ok, "pcomp: a stage takes as many tensors as the stage before it has wires"); return true; }
template <bool ok> consteval bool stage_callables()        { static_assert(ok, "pcomp: a Pipeline takes one callable for every stage, each returning that stage's module"); return true; }
template <bool ok> consteval bool not_a_stage()            { static_assert(ok, "pcomp: a Pipeline takes one or more Stage<Module, Wire...>"); return true; }
template <bool ok> consteval bool plan_stages()            { static_assert(ok, "pcomp: this Plan is for another number of stages"); return true; }
template <bool ok> consteval bool too_few_microbatches()  { static_assert(ok, "pcomp: this schedule needs more micro-batches"); return true; }
template <bool ok> consteval bool placement_size()         { static_assert(ok, "pcomp: a Placement names one rank for every stage"); return true; }
template <bool ok> consteval bool placement_ranks()        { static_assert(ok, "pcomp: a Placement must use every rank from 0 up"); return true; }
template <bool ok> consteval bool placement_repeats()      { static_assert(ok, "pcomp: this schedule cannot run a Placement that names a rank twice like this"); return true; }
template <bool ok> consteval bool table_size()             { static_assert(ok, "pcomp: a table of more than 8192 actions or 64 stages is built at run time: make_schedule(policy, stages, microbatches, placement)"); return true; }
template <bool ok, class Found> consteval bool deadlock()  { static_assert(ok, "pcomp: this schedule deadlocks under a blocking rendezvous, or cannot run at all: 'Found' beside this says where"); return true; }
// clang-format on

}  // namespace pcomp::refuse

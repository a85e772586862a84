// What pcomp::compiled builds once; without it, each unit that includes the headers includes these.
#include <pcomp/autograd/impl/boundary.ipp>
#include <pcomp/checkpoint/impl/checkpoint.ipp>
#include <pcomp/checkpoint/impl/optimizer_state.ipp>
#include <pcomp/checkpoint/impl/tensor_file.ipp>
#include <pcomp/plan/impl/alone.ipp>
#include <pcomp/plan/impl/choices.ipp>
#include <pcomp/plan/impl/costs_of.ipp>
#include <pcomp/plan/impl/measured.ipp>
#include <pcomp/plan/impl/rank.ipp>
#include <pcomp/runtime/impl/cut.ipp>
#include <pcomp/runtime/impl/engine.ipp>
#include <pcomp/runtime/impl/report.ipp>
#include <pcomp/runtime/impl/totals.ipp>
#include <pcomp/stage/impl/step_memory.ipp>
#include <pcomp/transport/c10d/impl/connect.ipp>
#include <pcomp/transport/impl/communicator.ipp>
#include <pcomp/transport/impl/world.ipp>

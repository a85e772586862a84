#include "device.inc"

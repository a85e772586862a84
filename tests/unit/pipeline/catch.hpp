#pragma once
#include "../schedule/catch.hpp"

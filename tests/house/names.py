#!/usr/bin/env python3
"""Counts the names that a program gets with `using namespace pcomp`: at most 60; the rest stand in inner namespaces."""
import pathlib
import re
import sys

LIMIT = 60
# What a network other than a chain of single tensors is written with, beyond those.
ANY_NETWORK = {"Microbatch", "Recompute", "Verbatim", "load_state", "save_state"}


def blanked(text):
    """Without comments, strings and preprocessor lines."""
    text = re.sub(r'//[^\n]*|/\*.*?\*/', " ", text, flags=re.S)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    text = re.sub(r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", "0", text)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)


def closing(text, at, open, close):
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == open) - (text[i] == close)
        if depth == 0:
            return i
    raise ValueError("not closed: " + text[at:at + 60])


def without_templates(s):
    """A declaration without the `template <...>` and `requires` before it."""
    while s.startswith(("template", "requires")):
        if s.startswith("template"):
            s = s[closing(s, s.index("<"), "<", ">") + 1:].strip()
        elif s.startswith("requires("):
            s = s[closing(s, 8, "(", ")") + 1:].strip()
        else:
            s = re.sub(r"^requires\s+[\w:]+(<[^<>]*(<[^<>]*>)?[^<>]*>)?\s*", "", s)
    return s


def declared(s):
    s = " ".join(s.split()).replace("->", "")
    if not s or s.startswith(("template <>", "static_assert", "using namespace", "extern")):
        return None
    s = without_templates(re.sub(r"\([^()]*[<>]=?[^()]*\)", "()", s) if "template" in s else s)
    s = re.sub(r"\[\[.*?\]\]\s*", "", s)
    kind = re.match(r"(?:struct|class|union|enum class|enum|concept|using) (\w+)", s)
    if kind:
        return kind[1]
    if re.search(r"\boperator\b", s):
        return None  # found by its operands
    for _ in range(8):
        s = re.sub(r"<[^<>]*>", "", s)
    name = re.search(r"(::\s*~?)?\b(\w+)\s*(?:\(|=|\{|\[|$)", s)
    return name and not name[1] and name[2]  # `A::f()` is a member, declared within A


def names_in(text, scope=()):
    """(namespace, name) of everything declared in namespaces."""
    at, statement = 0, ""
    while at < len(text):
        space = re.compile(r"(?:inline\s+)?namespace\s+([\w:]*)\s*\{").match(text, at)
        if space and not statement.strip():
            end = closing(text, space.end() - 1, "{", "}")
            yield from names_in(text[space.end():end], (*scope, *filter(None, space[1].split("::"))))
            at, statement = end + 1, ""
        elif text[at] == "{":
            end = closing(text, at, "{", "}")
            after = text[end + 1:].lstrip()[:1]
            statement += "{}"
            at = end + 1
            if after not in (";", ",", ">", ")", "(", ".", "{"):
                yield "::".join(scope), declared(statement.split("{}")[0])
                statement = ""
        elif text[at] == ";":
            yield "::".join(scope), declared(statement)
            at, statement = at + 1, ""
        else:
            statement += text[at]
            at += 1


def names(root):
    found = set()
    for header in sorted([*root.rglob("*.hpp"), *root.rglob("*.cuh"), *root.rglob("*.ipp")]):
        found |= {name for scope, name in names_in(blanked(header.read_text())) if scope == "pcomp" and name}
    return found


def self_test():
    text = """namespace pcomp { struct A { int b; }; template <class T, int n = (2 > 1)> class C; enum class D { x };
    namespace detail { struct Hidden {}; } template <class T> requires(sizeof(T) > 1) constexpr int f(T a = {}) { return 1; }
    inline constexpr A g{}; using H = A; template <class T> concept I = true; constexpr bool operator==(A, A) { return 1; }
    template <auto F = A{}> struct J; // struct K;
    [[nodiscard]] inline std::vector<int> l(const char* = "struct M {}"); template <> struct A2<int> {}; inline int A::member() { return 1; } A::A() = default; }
    namespace pcomp::viz { struct Elsewhere {}; }"""
    found = {n for s, n in names_in(blanked(text)) if s == "pcomp" and n}
    assert found == set("ACDfgHIJl"), found
    print("every kind of declaration is seen")


def main(argument):
    if argument == "--self-test":
        return self_test()
    found = names(pathlib.Path(argument) / "pcomp")
    print(len(found), "names in pcomp:", *sorted(found))
    return len(found - ANY_NETWORK) > LIMIT and f"more than {LIMIT}: put what few programs name into the namespace of its folder"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or 0)

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A recursive-descent evaluator; see expr.h for the grammar. */
#include "expr.h"

#include <string.h>

#include "util/error.h"

#define DEPTH_MAX 64

typedef struct Parser {
    const char *p;
    unsigned depth;
    ExprRegister *reg;
    void *opaque;
    GError **error;
} Parser;

static bool parse_sum(Parser *parser, uint64_t *value);
static bool parse_unary(Parser *parser, uint64_t *value);

static void skip_space(Parser *parser)
{
    while (*parser->p == ' ' || *parser->p == '\t')
        parser->p++;
}

/* Takes one of the operators if it stands here. */
static char take_operator(Parser *parser, const char *operators)
{
    char c = *parser->p;
    if (!c || !strchr(operators, c))
        return 0;
    parser->p++;
    skip_space(parser);
    return c;
}

static bool parse_number(Parser *parser, uint64_t *value)
{
    char *end;

    if (!g_ascii_isdigit(*parser->p)) {
        if (!*parser->p)
            return fail(parser->error, "unexpected end of expression");
        return fail(parser->error, "invalid char '%c' in expression", *parser->p);
    }
    *value = g_ascii_strtoull(parser->p, &end, 0);
    if (g_ascii_isalnum(*end) || *end == '_')
        return fail(parser->error, "invalid char '%c' in number", *end);
    parser->p = end;
    return true;
}

static bool parse_register(Parser *parser, uint64_t *value)
{
    size_t length = 0;

    while (g_ascii_isalnum(parser->p[length]) || parser->p[length] == '_')
        length++;
    g_autofree char *name = g_strndup(parser->p, length);
    parser->p += length;
    return parser->reg(parser->opaque, name, value, parser->error);
}

static bool parse_character(Parser *parser, uint64_t *value)
{
    if (!parser->p[0] || parser->p[1] != '\'')
        return fail(parser->error, "a character constant is one character between ' and '");
    *value = (uint8_t)parser->p[0];
    parser->p += 2;
    return true;
}

static bool parse_primary(Parser *parser, uint64_t *value)
{
    if (*parser->p == '\'') {
        parser->p++;
        return parse_character(parser, value);
    }
    switch (take_operator(parser, "+-~($")) {
    case '+':
        return parse_unary(parser, value);
    case '-':
        if (!parse_unary(parser, value))
            return false;
        *value = -*value;
        return true;
    case '~':
        if (!parse_unary(parser, value))
            return false;
        *value = ~*value;
        return true;
    case '(':
        if (!parse_sum(parser, value))
            return false;
        return take_operator(parser, ")") || fail(parser->error, "')' expected");
    case '$':
        return parse_register(parser, value);
    default:
        return parse_number(parser, value);
    }
}

static bool parse_unary(Parser *parser, uint64_t *value)
{
    if (++parser->depth > DEPTH_MAX)
        return fail(parser->error, "the expression is nested too deeply");
    bool parsed = parse_primary(parser, value);
    parser->depth--;
    skip_space(parser);
    return parsed;
}

static bool divide(Parser *parser, char operation, uint64_t *value, uint64_t divisor)
{
    int64_t a = (int64_t)*value, b = (int64_t)divisor;

    if (!b)
        return fail(parser->error, "division by zero");
    if (b == -1) /* the one division that overflows */
        *value = operation == '/' ? -*value : 0;
    else
        *value = (uint64_t)(operation == '/' ? a / b : a % b);
    return true;
}

/* In "pmemsave 0 4096 /tmp/file" the slash begins the next argument: what follows it can begin no
 * operand. */
static bool at_path(const Parser *parser)
{
    static const char begins[] = "+-~($' \t";
    return parser->p[0] == '/' && !g_ascii_isdigit(parser->p[1]) && !strchr(begins, parser->p[1]);
}

static bool parse_product(Parser *parser, uint64_t *value)
{
    char operation;
    uint64_t right;

    if (!parse_unary(parser, value))
        return false;
    while (!at_path(parser) && (operation = take_operator(parser, "*/%"))) {
        if (!parse_unary(parser, &right))
            return false;
        if (operation == '*')
            *value *= right;
        else if (!divide(parser, operation, value, right))
            return false;
    }
    return true;
}

static bool parse_logic(Parser *parser, uint64_t *value)
{
    char operation;
    uint64_t right;

    if (!parse_product(parser, value))
        return false;
    while ((operation = take_operator(parser, "&|^"))) {
        if (!parse_product(parser, &right))
            return false;
        *value = operation == '&'   ? *value & right
                 : operation == '|' ? *value | right
                                    : *value ^ right;
    }
    return true;
}

static bool parse_sum(Parser *parser, uint64_t *value)
{
    char operation;
    uint64_t right;

    if (!parse_logic(parser, value))
        return false;
    while ((operation = take_operator(parser, "+-"))) {
        if (!parse_logic(parser, &right))
            return false;
        *value = operation == '+' ? *value + right : *value - right;
    }
    return true;
}

bool expr_parse(const char **text, ExprRegister *reg, void *opaque, uint64_t *value, GError **error)
{
    Parser parser = {.p = *text, .reg = reg, .opaque = opaque, .error = error};

    skip_space(&parser);
    if (!parse_sum(&parser, value))
        return false;
    *text = parser.p;
    return true;
}
